"""Who is behind a pseudonym: the one table that leads there, how it is erased, and who looked.

``restricted/<dataset>/customer_index.parquet`` leads from a pseudonym to the customer's key in every table of the bank;
the record, the serving tables and the answers hold pseudonyms only. Erasing takes the row out and leaves a mark, so
that the next load of the source does not put it back, and no serving row is made without an index row.

Decision. The pseudonym is HMAC(pepper, customer number), and serving computes it in no time and without a look-up. A
salt for each customer would make old pseudonyms uncomputable, but costs every request a look-up before the look-up and
does nothing for rows that exist. So: whoever holds the pepper *and* knows a number can still compute the pseudonym of
an erased customer. Nothing in this code does: every way from a number goes through ``resolve`` or the dispute, which
record the access and stop at an erased customer. What the log holds under that pseudonym goes by ``on_erasure``, at
the latest by retention. Source: audit.md 8.4.
"""

from __future__ import annotations

import secrets
from io import BytesIO

import polars as pl

from pipeline_lib.audit import catalogue, record
from pipeline_lib.audit.dispute.question import pseudonym
from pipeline_lib.audit.segment import Entry
from pipeline_lib.errors import ObjectMissing, SwapLost
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.settings import Settings

_DIGEST = "customer_digest"


def index_key(dataset: str) -> str:
    """Where the index of a bank lies in the store."""
    return f"restricted/{dataset}/customer_index.parquet"


def erased(objects: Objects, dataset: str) -> set[str]:
    """Pseudonyms that lead to nobody any more."""
    return {key.rsplit("/", 1)[1] for key in objects.list(_marks(dataset))}


def is_erased(settings: Settings, subject: str) -> bool:
    return open_objects(settings.place.root).exists(f"{_marks(settings.source.name)}/{subject}")


def erase(objects: Objects, dataset: str, subject: str) -> bool:
    """Mark the pseudonym and take its row out of the index; twice is as once. Whether a row was there."""
    objects.create(f"{_marks(dataset)}/{subject}", b"")
    while True:
        try:
            data, tag = objects.get_tagged(index_key(dataset))
        except ObjectMissing:
            return False
        index = pl.read_parquet(BytesIO(data))
        left = index.filter(pl.col(_DIGEST) != subject)
        if left.height == index.height:
            return False
        written = BytesIO()
        left.write_parquet(written, compression="zstd")
        try:
            objects.swap(index_key(dataset), written.getvalue(), tag)
        except SwapLost:  # a load wrote in between: it may have known the customer still
            continue
        return True


def resolve(settings: Settings, customer: str, operator: str, purpose: str) -> str:
    """The pseudonym of a customer, after it is recorded that somebody wants to know.

    Args:
        customer: number, or a pseudonym, which is itself. It is written nowhere.
        operator: who asks, as the record names people.

    Raises:
        AuditError: the access could not be recorded; nothing is answered then.
    """
    known = {
        "operator_ref": operator, "operator_kind": "human", "row_scope": "single", "access_reason": "log_query",
        "purpose": f"pseudonym_mapping: {purpose}", "fields_read": ["customer_id", "subject_ref"], "denied": False,
    }  # fmt: skip
    payload = catalogue.complete("log_data_access", known)
    entry = Entry("log_data_access", "log_query", payload, f"log_query:{secrets.token_hex(16)}")
    record.record_once(settings, "privacy", [entry])
    return pseudonym(settings, customer)


def _marks(dataset: str) -> str:
    return f"restricted/{dataset}/erased"
