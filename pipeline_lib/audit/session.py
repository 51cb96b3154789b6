"""The record as the stages use it: settings in, receipts and rows out.

``record_once`` for what must be in the record exactly once (a verdict, an approval), ``writer`` for a stream,
``confirm`` to see that a receipt holds before acting on it, ``rows`` to read the evidence in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline_lib.audit import evidence, log, segment
from pipeline_lib.audit.line import Line
from pipeline_lib.audit.segment import Chain, Entry
from pipeline_lib.errors import ChainBroken, ObjectMissing
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.records import Receipt
from pipeline_lib.runs import code_version
from pipeline_lib.settings import Settings


@dataclass(frozen=True)
class StoredRow:
    """One entry as stored: header with its hashes, payload with its salt."""

    header: dict[str, Any]
    payload: dict[str, Any]

    @classmethod
    def of(cls, line: Line) -> StoredRow:
        return cls(line.header_dict(), line.payload_dict())


def origin(settings: Settings) -> str:
    """Identity of this environment's record."""
    return f"{settings.audit.origin}/{settings.place.env}"


def store(settings: Settings) -> Objects:
    return open_objects(settings.place.audit)


def writer(settings: Settings, service: str) -> log.Writer:
    """A new chain for this process. Raises AppendFailed or SecretMissing."""
    return log.Writer.open(
        store(settings),
        KeyFolder(settings.place.keys),
        origin=origin(settings),
        key_id=settings.audit.key_id,
        service=service,
        code_rev=code_version(),
        config_hash=settings.config_hash,
    )


def record_once(settings: Settings, service: str, entries: Sequence[Entry]) -> Receipt:
    """Record entries exactly once per idem of the first; see ``log.append_once``."""
    return log.append_once(
        store(settings),
        KeyFolder(settings.place.keys),
        origin=origin(settings),
        key_id=settings.audit.key_id,
        service=service,
        entries=entries,
    )


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


def rows(settings: Settings, tables: Sequence[str] | None = None, since: str | None = None) -> Iterator[StoredRow]:
    """Entries of the evidence chain by chain, each checked against its hashes and its chain (not its MAC).

    Args:
        tables: which of the seven; all when None.
        since: only entries at or after this ``YYYY-MM-DDTHH:MM:SS.ffffffZ``.
    """
    for identity, segments in evidence.chains(store(settings), origin(settings)).items():
        head = identity.start(None)
        for data in evidence.read(store(settings), segments):
            lines, head = segment.check(identity, head, data)
            for found in lines:
                if (tables is None or found.log_table in tables) and (since is None or found.ts >= since):
                    yield StoredRow.of(found)


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
