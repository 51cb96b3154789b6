"""A chain and its segments: how entries become bytes, and how bytes are checked against the chain. No I/O.

A segment is whole lines, each ended by a line feed. ``Head`` says where a chain stands; ``build`` appends to it
and ``walk`` follows it, so writer and verifier share one definition of what comes next. Source: audit.md 4.2-4.5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from pipeline_lib.audit import catalogue, chain, line
from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.errors import AuditError, ChainBroken, SignatureInvalid

ONCE = "once"
_UNKNOWN = ""
"""Hash of the entry before, when it could not be read."""
_MAX_SKIPPED = 1_000_000
_KEY_ID = re.compile(r"k-[0-9]{6}-[0-9]{2}")
_START = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Entry:
    """One row to record. ``payload`` has every column of its table (see ``catalogue.complete``) and no floats."""

    log_table: str
    event: str
    payload: Mapping[str, Any]
    idem: str
    """The caller's idempotency key: unique in the record."""
    request_id: str | None = None
    prediction_id: str | None = None


class Head(NamedTuple):
    """Where a chain stands: its last entry and what the next segment needs."""

    seg: int
    """Index of the next segment inside the epoch."""
    seq: int
    entry_hash: str
    ts: str
    key: bytes | None
    """MAC key of the next segment; None when MACs are not to be checked."""


@dataclass(frozen=True)
class Chain:
    """Whose chain: one epoch of one writer of one record."""

    origin: str
    writer_id: str
    epoch: int

    def start(self, root: bytes | None) -> Head:
        """The head before the first entry. ``root`` is the root MAC key, if MACs are to be made or checked."""
        key = None if root is None else chain.session_key(root, self.origin, self.writer_id, self.epoch)
        return Head(0, 0, chain.genesis(self.origin, self.writer_id, self.epoch), "", key)

    @property
    def is_once(self) -> bool:
        """Has this chain room for one segment only? Its writer is named for an idempotency key."""
        return self.writer_id.startswith(f"{ONCE}:")

    def key_of(self, first_seq: int) -> str:
        """Object key of the segment that starts with ``first_seq``."""
        return f"seg/{self.writer_id}/{self.epoch:010}/{first_seq:012}.jsonl"


class Fault(NamedTuple):
    """One thing wrong in a segment; codes are those of audit.md 7.2."""

    code: str
    seq: int
    detail: str


def build(
    identity: Chain, head: Head, entries: Sequence[Entry], *, key_id: str, now_us: int, clock: str, salts: Sequence[str]
) -> tuple[bytes, Head]:
    """The bytes of the segment after ``head``, and the head after it.

    Args:
        now_us: time [microseconds since 1970]; moved past the chain's last entry when the clock went back.
        clock: state of the host's clock when it did not.
        salts: one random salt for each entry.

    Raises:
        ValueError, TypeError: an entry is not admissible.
    """
    if not entries or head.key is None:
        raise ValueError("a segment has at least one entry and a key")
    first_us = max(now_us, micros(head.ts) + 1) if head.ts else now_us
    clock = clock if first_us == now_us else "adjusted"
    lines, at = [], head
    for offset, (entry, salt) in enumerate(zip(entries, salts, strict=True)):
        catalogue.check(entry.log_table, entry.event, entry.payload)
        payload = canonical_bytes({**entry.payload, catalogue.SALT: salt})
        at = at._replace(seq=at.seq + 1, ts=timestamp(first_us + offset))
        header = _header(identity, at, entry, chain.content_hash(payload), key_id, clock)
        raw, entry_hash = line.seal(header, payload, head.key)
        at = at._replace(entry_hash=entry_hash)
        lines.append(raw)
    return b"\n".join(lines) + b"\n", at._replace(seg=head.seg + 1, key=chain.evolve(head.key))


def walk(identity: Chain, head: Head, data: bytes) -> tuple[list[line.Line], Head, list[Fault]]:
    """Follow the chain through one segment, naming every entry that is not what must come next.

    After a fault it goes on from what the entry claims, so one bad entry is reported once, where it is. A line
    that cannot be read ends the segment: the entries after it are not looked at, and the next segment is not
    blamed for not following them.
    """
    lines: list[line.Line] = []
    faults: list[Fault] = []
    at = head
    rows = data.split(b"\n")
    whole = rows.pop() == b"" and bool(rows)
    if not whole:
        faults.append(Fault("BAD_SEGMENT", at.seq + len(rows) + 1, "empty, or the last line has no end"))
    for raw in rows:
        try:
            found = line.parse(raw)
        except ValueError as error:
            faults.append(Fault("BAD_SEGMENT", at.seq + 1, str(error)))
            whole = False
            break
        if not lines:
            at = _after_gap(at, found)
        faults.extend(_faults(identity, at, found))
        lines.append(found)
        at = Head(at.seg, found.seq, found.entry_hash, found.ts, at.key)
    entry_hash = at.entry_hash if whole else _UNKNOWN
    after = at._replace(seg=at.seg + 1, entry_hash=entry_hash, key=at.key and chain.evolve(at.key))
    return lines, after, faults


def check(identity: Chain, head: Head, data: bytes) -> tuple[list[line.Line], Head]:
    """``walk``, but the first fault is an error.

    Raises:
        SignatureInvalid: a MAC does not verify.
        ChainBroken: anything else; ``.index`` is the sequence number.
    """
    lines, after, faults = walk(identity, head, data)
    if faults:
        raise _error(identity, faults[0])
    return lines, after


def lines(data: bytes) -> list[line.Line]:
    """The entries of a segment that was checked before; raises ChainBroken when one cannot be read."""
    try:
        return [line.parse(raw) for raw in data.split(b"\n")[:-1]]
    except ValueError as error:
        raise ChainBroken(str(error), 0) from error


def evolved(head: Head, segments: int) -> bytes | None:
    """MAC key so many segments after the head."""
    key = head.key
    for _ in range(segments if key else 0):
        key = chain.evolve(key or b"")
    return key


def key_id(data: bytes) -> str:
    """Root key named by the first entry of a segment; raises ChainBroken when it cannot be read."""
    try:
        name = line.parse(data.split(b"\n", 1)[0]).key_id
    except ValueError as error:
        raise ChainBroken(str(error), 1) from error
    if not _KEY_ID.fullmatch(name):
        raise ChainBroken(f"{name!r} is not the name of a root key", 1)
    return name


def timestamp(us: int) -> str:
    """Microseconds since 1970 as ``YYYY-MM-DDTHH:MM:SS.ffffffZ``."""
    moment = _START + timedelta(microseconds=us)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def micros(ts: str) -> int:
    """The inverse of ``timestamp``."""
    return (datetime.fromisoformat(ts) - _START) // timedelta(microseconds=1)


def _header(identity: Chain, at: Head, entry: Entry, content: str, key_id: str, clock: str) -> dict[str, Any]:
    if not 1 <= len(entry.idem) <= 200:
        raise ValueError(f"{entry.event}: idem has 1 to 200 characters, found {len(entry.idem)}")
    return {
        "canon": line.CANON,
        "clock": clock,
        "content_hash": content,
        "epoch": identity.epoch,
        "event": entry.event,
        "idem": entry.idem,
        "key_id": key_id,
        "log_table": entry.log_table,
        "origin": identity.origin,
        "prediction_id": entry.prediction_id,
        "prev_hash": at.entry_hash,
        "request_id": entry.request_id,
        "schema": catalogue.SCHEMA[entry.log_table],
        "seg": at.seg,
        "seq": at.seq,
        "ts": at.ts,
        "writer_id": identity.writer_id,
    }


def _faults(identity: Chain, at: Head, found: line.Line) -> list[Fault]:
    faults = []
    if not found.dropped and chain.content_hash(found.payload) != found.content_hash:
        faults.append(Fault("ROW_ALTERED", found.seq, "the payload is not the one that was hashed"))
    if chain.entry_hash(found.header) != found.entry_hash:
        faults.append(Fault("HEADER_ALTERED", found.seq, "the header is not the one that was hashed"))
    if at.entry_hash == _UNKNOWN:
        pass
    elif found.seq > at.seq + 1:
        faults.append(Fault("SEQ_GAP", found.seq, f"expected seq {at.seq + 1}, found {found.seq}"))
    elif found.seq <= at.seq:
        faults.append(Fault("CHAIN_BROKEN", found.seq, f"comes after seq {at.seq}"))
    elif found.prev_hash != at.entry_hash:
        faults.append(Fault("CHAIN_BROKEN", found.seq, "does not follow the entry before it"))
    belongs = (found.origin, found.writer_id, found.epoch, found.seg)
    expected = (identity.origin, identity.writer_id, identity.epoch, at.seg)
    if belongs != expected:
        faults.append(Fault("CHAIN_BROKEN", found.seq, f"belongs to {belongs}, is stored under {expected}"))
    if at.key is not None and not chain.mac_is(at.key, found.header, found.hmac):
        faults.append(Fault("MAC_INVALID", found.seq, f"not made with key {found.key_id}"))
    if found.ts <= at.ts:
        faults.append(Fault("CLOCK_SUSPECT", found.seq, f"{found.ts} is not after {at.ts}"))
    return faults


def _after_gap(at: Head, found: line.Line) -> Head:
    """The head moved over missing segments, so that only the hole is a fault; each of them had at least one entry."""
    skipped = found.seg - at.seg
    if not 0 < skipped < found.seq - at.seq or skipped > _MAX_SKIPPED:
        return at
    return at._replace(seg=found.seg, key=evolved(at, skipped))


def _error(identity: Chain, fault: Fault) -> AuditError:
    text = f"{identity.writer_id} epoch {identity.epoch} seq {fault.seq}: {fault.code}: {fault.detail}"
    return SignatureInvalid(text) if fault.code == "MAC_INVALID" else ChainBroken(text, fault.seq)
