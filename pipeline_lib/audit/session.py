"""The record as the stages use it: settings in, receipts and rows out.

``record_once`` for what must be in the record exactly once (a verdict, an approval), ``writer`` for a stream,
``confirm`` to see that a receipt holds before acting on it, ``rows`` to read the evidence, ``commit`` at the end of
a run, ``verify_record`` when somebody is about to rely on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline_lib.audit import anchors, checkpoint, evidence, load, record, segment, verify
from pipeline_lib.audit.current import require_current
from pipeline_lib.audit.line import Line
from pipeline_lib.audit.log import Writer
from pipeline_lib.audit.record import active_key, origin, store
from pipeline_lib.audit.report import Report
from pipeline_lib.audit.segment import Chain, Entry
from pipeline_lib.errors import ChainBroken, ObjectMissing
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import open_objects
from pipeline_lib.records import Receipt
from pipeline_lib.settings import Settings

__all__ = [
    "StoredRow",
    "active_key",
    "commit",
    "confirm",
    "origin",
    "record_once",
    "rows",
    "store",
    "verification",
    "verify_record",
    "writer",
]


@dataclass(frozen=True)
class StoredRow:
    """One entry as stored: header with its hashes, payload with its salt."""

    header: dict[str, Any]
    payload: dict[str, Any]

    @classmethod
    def of(cls, line: Line) -> StoredRow:
        return cls(line.header_dict(), line.payload_dict())


def writer(settings: Settings, service: str) -> Writer:
    """A new chain for this process. Raises AppendFailed (also on an older copy of the record) or SecretMissing."""
    require_current(settings)
    return record.writer(settings, service)


def record_once(settings: Settings, service: str, entries: Sequence[Entry]) -> Receipt:
    """Record entries exactly once per idem of the first; see ``log.append_once``. Raises as ``writer``."""
    require_current(settings)
    return record.record_once(settings, service, entries)


def confirm(settings: Settings, receipt: Receipt) -> list[StoredRow]:
    """The rows of a receipt, read back from the evidence after checking their chain and MACs from its start.

    Raises:
        ChainBroken: the record does not hold what the receipt says.
        SignatureInvalid: a MAC does not verify.
    """
    if receipt.origin != origin(settings):
        raise ChainBroken(f"the receipt is of {receipt.origin}, this record is {origin(settings)}", receipt.first_seq)
    identity = Chain(receipt.origin, receipt.writer_id, receipt.epoch)
    lines = [found for found in _chain_lines(settings, identity, receipt) if found.seq >= receipt.first_seq]
    if [found.seq for found in lines] != list(range(receipt.first_seq, receipt.last_seq + 1)):
        raise ChainBroken(f"{receipt}: found rows {[found.seq for found in lines]}", receipt.first_seq)
    if lines[-1].entry_hash != receipt.last_entry_hash:
        raise ChainBroken(f"{receipt}: the last row hashes to {lines[-1].entry_hash}", receipt.last_seq)
    return [StoredRow.of(found) for found in lines]


def rows(
    settings: Settings, tables: Sequence[str] | None = None, since: str | None = None, as_of_ckpt: int | None = None
) -> Iterator[StoredRow]:
    """Entries of the evidence, chain by chain, each checked against its hashes and its chain (not its MAC).
    Rows whose payload is gone (retention, erasure) say nothing any more and are left out.

    Args:
        tables: which of the seven; all when None.
        since: only entries at or after this ``YYYY-MM-DDTHH:MM:SS.ffffffZ``.
        as_of_ckpt: only entries covered by this checkpoint or an earlier one; also newer ones when None.

    Raises:
        ChainBroken: an entry is not what was hashed, or is not the next of its chain.
    """
    covered = None if as_of_ckpt is None else _covered(settings, as_of_ckpt)
    objects = store(settings)
    for identity, keys in evidence.chains(objects, origin(settings)).items():
        head = identity.start(None)
        for key in keys:
            if covered is not None and key not in covered:
                break
            lines, head = segment.check(identity, head, objects.get(key))
            for found in lines:
                if found.dropped:
                    continue
                if (tables is None or found.log_table in tables) and (since is None or found.ts >= since):
                    yield StoredRow.of(found)


def commit(settings: Settings) -> dict[str, Any]:
    """Cover everything recorded so far by a checkpoint and load it into the query store: the end of every run.

    Returns:
        ``ckpt_n`` and ``size`` (0 when nothing was ever recorded), ``root`` and ``ts`` of that checkpoint,
        ``new_rows``, ``loaded_rows``, and the segments ``waiting`` for a predecessor or ``rejected``.

    Raises:
        AuditError: the anchors do not verify, or the evidence holds less than they cover.
    """
    sealed = checkpoint.seal(settings)
    loaded = load.load(settings)
    newest = sealed.checkpoint
    return {
        "ckpt_n": newest.n if newest else 0,
        "size": newest.size if newest else 0,
        "root": newest.root if newest else None,
        "ts": newest.ts if newest else None,
        "new_rows": sealed.new_rows,
        "loaded_rows": loaded.rows,
        "waiting": list(sealed.waiting),
        "rejected": list(sealed.rejected),
    }


def verification(
    settings: Settings, receipts: Sequence[Receipt] = (), kept: Mapping[str, bytes] | None = None
) -> Report:
    """Verify everything and report, whatever was found; writes nothing. ``kept``: notes that somebody outside kept."""
    return verify.examine(settings, receipts, kept=kept)


def verify_record(settings: Settings) -> Mapping[str, Any]:
    """Verify everything, file the report and record the result.

    Returns:
        ``verdict`` (INTACT), ``to_ckpt``, ``size``, ``root``, ``rows_checked``.

    Raises:
        Tampered, NotVerified: the verdict is another; the error carries the report.
    """
    report = verify.job(settings)
    return {
        "verdict": report.verdict,
        "to_ckpt": report.to_ckpt,
        "size": report.size,
        "root": report.root,
        "rows_checked": report.rows_checked,
    }


def _covered(settings: Settings, as_of_ckpt: int) -> set[str]:
    past = anchors.history(open_objects(settings.place.anchors), KeyFolder(settings.place.keys), origin(settings))
    return set(anchors.covered([anchor for anchor in past if anchor.checkpoint.n <= as_of_ckpt]))


def _chain_lines(settings: Settings, identity: Chain, receipt: Receipt) -> Iterator[Line]:
    """Checked lines of the receipt's chain up to its last row; the key is the one the chain was opened with."""
    objects, keys = store(settings), KeyFolder(settings.place.keys)
    head, first = None, 1
    while first <= receipt.last_seq:
        try:
            data = objects.get(identity.key_of(first))
        except ObjectMissing:
            raise ChainBroken(f"{receipt}: no segment starts at {first}", first) from None
        head = head or identity.start(keys.audit_root(segment.key_id(data)))
        lines, head = segment.check(identity, head, data)
        yield from lines
        first = head.seq + 1
