"""The anchor store: signed notes and, beside each, the index that says which leaf is which entry. Create-only.

    ckpt/<n:012>                         the signed note
    leaves/<n:012>-<sha256[:16]>.json    the leaf index it commits to; one without a note is left of a crash

Copies of the notes lie in another store (``witness/``), so that a record and its anchors cannot be rolled back
together unseen. Source: audit.md 4.7, 13.1.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline_lib import signing
from pipeline_lib.audit import merkle, note
from pipeline_lib.audit.note import Checkpoint
from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.errors import AuditError, ObjectMissing
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects

WITNESS = "witness"


@dataclass(frozen=True)
class Covered:
    """One segment under a checkpoint: its leaves follow those of the segment before it."""

    key: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class WriterHead:
    """Where one chain stood when it was covered."""

    writer_id: str
    epoch: int
    seg: int
    seq: int
    entry_hash: str
    ts: str
    state: str
    """``open`` or ``closed``."""


@dataclass(frozen=True)
class Index:
    """What one checkpoint added to the tree."""

    n: int
    first_leaf: int
    size: int
    segments: tuple[Covered, ...]
    leaves: tuple[str, ...]
    """Leaf hashes in tree order, hex."""
    frontier: tuple[str, ...]
    """Frontier of the tree after them, hex."""
    heads: tuple[WriterHead, ...]
    """Chains that grew."""
    epochs: int
    """Chains ever covered."""

    def to_bytes(self) -> bytes:
        return canonical_bytes(asdict(self))

    @property
    def writers_digest(self) -> str:
        vector = {"epochs": self.epochs, "heads": [asdict(head) for head in self.heads]}
        return hashlib.sha256(canonical_bytes(vector)).hexdigest()

    @classmethod
    def from_bytes(cls, data: bytes) -> Index:
        body: dict[str, Any] = json.loads(data)
        body["segments"] = tuple(Covered(**item) for item in body["segments"])
        body["heads"] = tuple(WriterHead(**item) for item in body["heads"])
        body["leaves"], body["frontier"] = tuple(body["leaves"]), tuple(body["frontier"])
        return cls(**body)


@dataclass(frozen=True)
class Anchor:
    """One checkpoint with everything that belongs to it."""

    checkpoint: Checkpoint
    note: bytes
    index: Index
    signers: tuple[str, ...]
    """Ids of the keys that signed it: one, or the old key and the new one where the key changes."""


def note_key(n: int) -> str:
    return f"ckpt/{n:012}"


def witness_key(n: int) -> str:
    """Where the copy of a note lies in the other store."""
    return f"{WITNESS}/{note_key(n)}"


def index_key(n: int, digest: str) -> str:
    return f"leaves/{n:012}-{digest[:16]}.json"


def history(store: Objects, keys: KeyFolder, origin: str) -> list[Anchor]:
    """All checkpoints in order. Raises AuditError when one of them does not hold."""
    found, problem = trusted(store, keys, origin)
    if problem:
        raise AuditError(f"CKPT_INVALID: {problem}")
    return found


def trusted(store: Objects, keys: KeyFolder, origin: str) -> tuple[list[Anchor], str | None]:
    """Checkpoints in order up to the first that does not continue the one before it, and why it does not."""
    found: list[Anchor] = []
    for n, key in enumerate(_note_keys(store), start=1):
        try:
            anchor = _read(store, keys, key)
        except AuditError as error:
            return found, f"{key}: {error}"
        if problem := why_not(found[-1] if found else None, anchor, key, n, origin):
            return found, f"{key}: {problem}"
        found.append(anchor)
    if found and found[-1].signers[-1] not in _believed(keys):
        return found[:-1], f"{note_key(len(found))}: signed by {found[-1].signers[-1]}, which was replaced"
    return found, None


def newest(store: Objects, keys: KeyFolder) -> Anchor | None:
    """The last checkpoint alone, its signature checked but not what it continues. Raises AuditError."""
    found = _note_keys(store)
    return _read(store, keys, found[-1]) if found else None


def copies(store: Objects, past: Sequence[Anchor]) -> dict[str, bytes]:
    """The notes in the other store by key: those it lists, and those it should have, asked for by name."""
    found: dict[str, bytes] = {}
    for key in {*store.list(WITNESS), *(witness_key(anchor.checkpoint.n) for anchor in past)}:
        try:
            found[key] = store.get(key)
        except ObjectMissing:
            continue
    return found


def why_not(before: Anchor | None, anchor: Anchor, key: str, n: int, origin: str) -> str | None:
    """Why ``anchor`` does not continue ``before``; None when it does. The extension of the frontier is the proof."""
    point, index = anchor.checkpoint, anchor.index
    size = before.checkpoint.size if before else 0
    old = [bytes.fromhex(item) for item in before.index.frontier] if before else []
    frontier = merkle.extend(old, size, (bytes.fromhex(leaf) for leaf in index.leaves))
    prev = note.digest(before.note) if before else note.NO_NOTE
    expectations = (
        ("key", key, note_key(n)),
        ("origin", point.origin, origin),
        ("n", (point.n, index.n), (n, n)),
        ("prev", point.prev, prev),
        ("first leaf", index.first_leaf, size),
        ("size", (point.size, index.size), (size + len(index.leaves),) * 2),
        ("rows of segments", sum(item.rows for item in index.segments), len(index.leaves)),
        ("frontier", index.frontier, tuple(item.hex() for item in frontier)),
        ("root", point.root, merkle.root_of(frontier).hex()),
        ("writers", point.writers, index.writers_digest),
        ("first signer", anchor.signers[0], before.signers[-1] if before else anchor.signers[0]),
    )
    wrong = [f"{name} is {found}, expected {expected}" for name, found, expected in expectations if found != expected]
    return "; ".join(wrong) or None


def covered(anchors: Sequence[Anchor]) -> dict[str, tuple[Covered, int, Anchor]]:
    """Segment key -> what the tree holds of it, its first leaf, and the checkpoint that covered it first."""
    out: dict[str, tuple[Covered, int, Anchor]] = {}
    for anchor in anchors:
        leaf = anchor.index.first_leaf
        for item in anchor.index.segments:
            out[item.key] = (item, leaf, anchor)
            leaf += item.rows
    return out


def heads(anchors: Sequence[Anchor]) -> dict[tuple[str, int], WriterHead]:
    """The last known head of every chain ever covered."""
    return {(head.writer_id, head.epoch): head for anchor in anchors for head in anchor.index.heads}


def _note_keys(store: Objects) -> list[str]:
    """All notes; a listing may be stale, so the number after the last one is asked for by name."""
    keys = store.list("ckpt")
    n = len(keys) + 1
    while store.exists(note_key(n)):
        keys, n = sorted({*keys, note_key(n)}), n + 1
    return keys


def _believed(keys: KeyFolder) -> set[str | None]:
    """Who may have signed the newest note: the key in force, or the next one when a crash came before it was."""
    return {signing.in_force(keys, note.PURPOSE), signing.next_id(keys, note.PURPOSE)}


def _read(store: Objects, keys: KeyFolder, key: str) -> Anchor:
    signed = store.get(key)
    point, signers = note.read(keys, signed)
    try:
        data = store.get(index_key(point.n, point.index))
    except ObjectMissing as error:
        raise AuditError(f"its leaf index is gone: {error}") from error
    if hashlib.sha256(data).hexdigest() != point.index:
        raise AuditError("its leaf index was changed")
    return Anchor(point, signed, Index.from_bytes(data), signers)
