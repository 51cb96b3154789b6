"""Reading the evidence: which chains there are, and one pass over what their segments hold.

A stale or racing listing must never look like a missing row: what a checkpoint covers is asked for by name, and a
chain that seems to have a hole is listed again before anybody is told. Source: audit.md 4.6, F15.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline_lib.audit import line, segment
from pipeline_lib.audit.segment import Chain, Fault, Head
from pipeline_lib.errors import ChainBroken, ObjectMissing, SecretMissing
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects

FOLDER = "seg"
ACTS = frozenset({"legal_hold", "erasure", "retention_drop"})
"""Events whose payloads V18 and V19 judge."""
_HAS_ACTION = b'{"action_id":"'
"""How a payload of log_operation begins when it belongs to an action: ``action_id`` sorts first."""
_KEY = re.compile(r"seg/([^/]+)/([0-9]{10})/([0-9]{12})\.jsonl")


class RowFact(NamedTuple):
    """What the checks across rows need of one entry."""

    key: str
    seq: int
    ts: str
    log_table: str
    event: str
    idem: str
    request_id: str | None
    prediction_id: str | None
    action: tuple[str, str] | None
    """``action_id`` and ``phase`` of an operation."""


class Gone(NamedTuple):
    """A row whose header is there and whose payload is not."""

    seq: int
    ts: str
    log_table: str
    event: str
    content_hash: str


class Act(NamedTuple):
    """A row about holds, erasures and expiry, with what it says."""

    key: str
    seq: int
    ts: str
    event: str
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class SegmentRead:
    """One segment after walking it."""

    key: str
    chain: Chain
    sha256: str
    first_seq: int
    """From its name."""
    last: Head
    leaves: tuple[bytes, ...]
    faults: tuple[Fault, ...]
    key_ids: frozenset[str]
    first_event: str | None
    dropped: tuple[Gone, ...] = ()


@dataclass
class Reading:
    """Everything one pass over the evidence has seen."""

    segments: dict[str, SegmentRead] = field(default_factory=dict)
    facts: list[RowFact] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    """Objects that are not named like segments."""
    keyless: dict[str, str] = field(default_factory=dict)
    """Segments whose MACs could not be checked, and why."""
    acts: list[Act] = field(default_factory=list)
    """What was said about holds, erasures and expiry."""


_Walked = tuple[SegmentRead, list[RowFact], str | None, list[Act]]


def chains(store: Objects, origin: str) -> dict[Chain, list[str]]:
    """Every chain with the keys of its segments in order, by writer and epoch.

    Raises:
        ChainBroken: an object among them that is not named like a segment.
    """
    found, strays = _listed(store, origin)
    if strays:
        raise ChainBroken(f"{store.url}/{strays[0]} is not named like a segment", 0)
    return found


def first_seq(key: str) -> int:
    """Sequence number of the first entry of the segment under ``key``."""
    return int(key.rsplit("/", 1)[1].removesuffix(".jsonl"))


def chain_of(key: str) -> tuple[str, int]:
    """Writer and epoch of the segment under ``key``."""
    _, writer_id, epoch, _ = key.split("/")
    return writer_id, int(epoch)


def read(store: Objects, keys: Sequence[str]) -> Iterator[bytes]:
    for key in keys:
        yield store.get(key)


def examine(store: Objects, keys: KeyFolder, origin: str, known: Mapping[str, str]) -> Reading:
    """Walk every chain from its first entry, with MACs.

    Args:
        known: segments that must be there, listed or not -> SHA-256 of what was fully checked before, whose bytes
            are not re-serialised again.
    """
    reading = Reading()
    found, reading.strays = _listed(store, origin, known)
    for chain, names in found.items():
        walked = _walk(store, keys, chain, names, known)
        if any(fault.code == "SEQ_GAP" for part, _, _, _ in walked for fault in part.faults):
            walked = _walk(store, keys, chain, _listed(store, origin, known)[0][chain], known)
        for part, facts, why_keyless, acts in walked:
            reading.segments[part.key] = part
            reading.facts.extend(facts)
            reading.acts.extend(acts)
            if why_keyless:
                reading.keyless[part.key] = why_keyless
    return reading


def _listed(store: Objects, origin: str, known: Iterable[str] = ()) -> tuple[dict[Chain, list[str]], list[str]]:
    found: dict[Chain, list[str]] = {}
    strays = []
    for key in sorted({*store.list(FOLDER), *known}):
        match = _KEY.fullmatch(key)
        if match is None:
            strays.append(key)
        else:
            found.setdefault(Chain(origin, match[1], int(match[2])), []).append(key)
    return found, strays


def _walk(
    store: Objects, keys: KeyFolder, chain: Chain, names: Sequence[str], known: Mapping[str, str]
) -> list[_Walked]:
    walked: list[_Walked] = []
    head, why_keyless = chain.start(None), None
    for name in names:
        try:
            data = store.get(name)
        except ObjectMissing:
            continue  # listed, then gone: the next segment shows the hole
        if not walked:
            head, why_keyless = _start(keys, chain, data)
        lines, head, faults = segment.walk(chain, head, data)
        sha256 = hashlib.sha256(data).hexdigest()
        if known.get(name) != sha256:
            faults += _not_canonical(data, first_seq(name))
        if lines and lines[0].seq != first_seq(name):
            faults.append(Fault("SEQ_GAP", lines[0].seq, f"is stored as if it were seq {first_seq(name)}"))
        part = SegmentRead(
            key=name,
            chain=chain,
            sha256=sha256,
            first_seq=first_seq(name),
            last=head,
            leaves=tuple(found.leaf for found in lines),
            faults=tuple(dict.fromkeys(faults)),
            key_ids=frozenset(found.key_id for found in lines),
            first_event=lines[0].event if lines else None,
            dropped=tuple(
                Gone(one.seq, one.ts, one.log_table, one.event, one.content_hash) for one in lines if one.dropped
            ),
        )
        acts = [_act(name, found) for found in lines if found.event in ACTS and not found.dropped]
        walked.append((part, [_fact(name, found) for found in lines], why_keyless, acts))
    return walked


def _start(keys: KeyFolder, chain: Chain, data: bytes) -> tuple[Head, str | None]:
    try:
        return chain.start(keys.audit_root(segment.key_id(data))), None
    except (ChainBroken, SecretMissing) as error:
        return chain.start(None), str(error.args[0])


def _not_canonical(data: bytes, first: int) -> list[Fault]:
    """Rule C12 for what was never covered by a checkpoint."""
    return [
        Fault("BAD_SEGMENT", first + at, "does not re-serialise to the same bytes")
        for at, raw in enumerate(data.split(b"\n")[:-1])
        if not line.is_canonical(raw)
    ]


def _act(key: str, found: line.Line) -> Act:
    try:
        payload = found.payload_dict()
    except (ValueError, RecursionError):
        payload = {}  # altered: V02 names it
    return Act(key, found.seq, found.ts, found.event, payload)


def _action(found: line.Line) -> tuple[str, str] | None:
    try:
        payload = found.payload_dict()
    except (ValueError, RecursionError):
        return None  # altered: V02 names it
    return str(payload.get("action_id")), str(payload.get("phase"))


def _fact(key: str, found: line.Line) -> RowFact:
    action = None
    if found.log_table == "log_operation" and found.payload.startswith(_HAS_ACTION):
        action = _action(found)
    return RowFact(
        key,
        found.seq,
        found.ts,
        found.log_table,
        found.event,
        found.idem,
        found.request_id,
        found.prediction_id,
        action,
    )
