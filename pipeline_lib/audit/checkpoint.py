"""From segments to a signed checkpoint: the sequencer orders, the signer signs, the anchor store keeps.

Two roles with two duties. The sequencer reads new segments, checks each entry fully once, gives leaf indices in a
deterministic order (time, then writer; never an entry before the one it follows) and extends the Merkle tree. The
signer never sees an entry: it takes the newest note and the index, proves that one continues the other, and signs.
In the ``local`` profile both run in one step; two of them at once are sorted out by the create-only note.
Source: audit.md 4.6, 4.7, 13.1.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline_lib import signing
from pipeline_lib.audit import anchors, catalogue, evidence, line, merkle, note, record, segment
from pipeline_lib.audit.anchors import Anchor, Covered, Index, WriterHead
from pipeline_lib.audit.keyring import CHECKPOINT, Ring
from pipeline_lib.audit.note import Checkpoint
from pipeline_lib.audit.segment import Chain, Entry, Fault
from pipeline_lib.business_time import utc_now
from pipeline_lib.canonical import canonical_bytes, digest
from pipeline_lib.errors import AuditError, ObjectExists
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.settings import Settings

log = logging.getLogger(__name__)
_ATTEMPTS = 5


@dataclass(frozen=True)
class Sealed:
    """Outcome of one step: the newest checkpoint and what could not be covered."""

    checkpoint: Checkpoint | None
    """None when nothing was ever recorded."""
    new_rows: int
    waiting: tuple[str, ...]
    """Segments whose predecessor has not arrived."""
    rejected: tuple[str, ...]
    """Segments that do not verify; they stay where they are and block their chain only."""


@dataclass(frozen=True)
class _Piece:
    """One checked segment that is not in the tree yet."""

    covered: Covered
    leaves: tuple[bytes, ...]
    head: WriterHead
    order: tuple[str, str, int, int]


def seal(settings: Settings) -> Sealed:
    """Cover everything recorded so far by a signed checkpoint; nothing new, no new checkpoint.

    Raises:
        AuditError: the anchors do not verify, or the store holds less than they cover (an old copy?).
    """
    keys = KeyFolder(settings.place.keys)
    sequencer = Sequencer(record.store(settings), keys, record.origin(settings))
    signer = Signer(open_objects(settings.place.anchors), keys, record.origin(settings), record.ring(settings))
    for _ in range(_ATTEMPTS):
        past = signer.history()
        _copy_to_witness(settings, past)
        pieces, waiting, rejected = sequencer.collect(past)
        if rejected:
            _record_rejected(settings, rejected)
        try:
            newest = signer.sign(past, sequencer.index(past, pieces)) if pieces else past[-1] if past else None
        except ObjectExists:
            log.info("another step was faster; looking again")
            continue
        _copy_to_witness(settings, [*past, newest] if newest else past)
        rows = sum(piece.covered.rows for piece in pieces)
        return Sealed(newest.checkpoint if newest else None, rows, tuple(waiting), tuple(rejected))
    raise AuditError(f"FORK_SUSPECTED: no checkpoint after {_ATTEMPTS} attempts")


class Sequencer:
    """Reads segments; cannot sign."""

    def __init__(self, store: Objects, keys: KeyFolder, origin: str) -> None:
        self._store, self._keys, self._origin = store, keys, origin

    def collect(self, past: Sequence[Anchor]) -> tuple[list[_Piece], list[str], dict[str, Fault]]:
        """New segments in leaf order; segments that wait for a predecessor; segments that do not verify."""
        known, heads = anchors.covered(past), anchors.heads(past)
        found = evidence.chains(self._store, self._origin)
        present = {key for keys in found.values() for key in keys}
        if gone := sorted(key for key in known.keys() - present if not self._store.exists(key)):
            raise AuditError(f"STORE_BEHIND_ANCHOR: {len(gone)} covered segments are gone, first {gone[0]}")
        pieces: list[_Piece] = []
        waiting: list[str] = []
        rejected: dict[str, Fault] = {}
        for chain, keys in found.items():
            new = [key for key in keys if key not in known]
            self._follow(chain, heads.get((chain.writer_id, chain.epoch)), new, pieces, waiting, rejected)
        return sorted(pieces, key=lambda piece: piece.order), waiting, rejected

    def index(self, past: Sequence[Anchor], pieces: Sequence[_Piece]) -> Index:
        """What the next checkpoint adds to the tree."""
        before = past[-1].index if past else None
        size = before.size if before else 0
        leaves = [leaf for piece in pieces for leaf in piece.leaves]
        frontier = merkle.extend([bytes.fromhex(x) for x in before.frontier] if before else [], size, leaves)
        heads = {(piece.head.writer_id, piece.head.epoch): piece.head for piece in pieces}
        return Index(
            n=len(past) + 1,
            first_leaf=size,
            size=size + len(leaves),
            segments=tuple(piece.covered for piece in pieces),
            leaves=tuple(leaf.hex() for leaf in leaves),
            frontier=tuple(item.hex() for item in frontier),
            heads=tuple(heads[key] for key in sorted(heads)),
            epochs=len(anchors.heads(past).keys() | heads.keys()),
        )

    def _follow(
        self,
        chain: Chain,
        known: WriterHead | None,
        new: Sequence[str],
        pieces: list[_Piece],
        waiting: list[str],
        rejected: dict[str, Fault],
    ) -> None:
        """Check the new segments of one chain in order, up to the first hole or fault."""
        head, latest = None, ""
        for at, key in enumerate(new):
            expected = head.seq + 1 if head else known.seq + 1 if known else 1
            if evidence.first_seq(key) > expected:
                waiting.extend(new[at:])
                return
            data = self._store.get(key)
            try:
                head = head or self._resume(chain, known, data)
                lines, head = segment.check(chain, head, data)
            except AuditError as error:
                rejected[key] = Fault("BAD_SEGMENT", expected, str(error.args[0]))
                return
            if not all(line.is_canonical(raw) for raw in data.split(b"\n")[:-1]):
                rejected[key] = Fault("BAD_SEGMENT", expected, "does not re-serialise to the same bytes")
                return
            latest = max(latest, lines[0].ts)
            state = "closed" if lines[-1].event == "writer_close" or chain.is_once else "open"
            pieces.append(
                _Piece(
                    Covered(key, len(lines), hashlib.sha256(data).hexdigest()),
                    tuple(found.leaf for found in lines),
                    WriterHead(chain.writer_id, chain.epoch, head.seg, head.seq, head.entry_hash, head.ts, state),
                    (latest, chain.writer_id, chain.epoch, lines[0].seq),
                )
            )

    def _resume(self, chain: Chain, known: WriterHead | None, data: bytes) -> segment.Head:
        """The head a chain stood at, with the MAC key evolved to its next segment."""
        start = chain.start(self._keys.audit_root(segment.key_id(data)))
        if known is None:
            return start
        key = segment.evolved(start, known.seg)
        return segment.Head(known.seg, known.seq, known.entry_hash, known.ts, key)


class Signer:
    """Signs checkpoints; reads anchors only, never a segment."""

    def __init__(self, store: Objects, keys: KeyFolder, origin: str, ring: Ring) -> None:
        self._store, self._keys, self._origin, self._ring = store, keys, origin, ring

    def history(self) -> list[Anchor]:
        past = anchors.history(self._store, self._keys, self._origin)
        if past:
            self._adopt(past[-1])
        return past

    def _adopt(self, newest: Anchor) -> None:
        """Put the next key in force once a checkpoint is signed by it too; also after a crash in between."""
        if newest.signers[-1] == signing.next_id(self._keys, note.PURPOSE):
            signing.adopt_next(self._keys, note.PURPOSE)

    def sign(self, past: Sequence[Anchor], index: Index) -> Anchor:
        """Sign the index's tree head if, and only if, it continues the newest note.

        Raises:
            AuditError: it does not.
            ObjectExists: the next number was taken in between.
        """
        before = past[-1] if past else None
        data = index.to_bytes()
        announced, prepared = self._ring.pending(CHECKPOINT), signing.next_id(self._keys, note.PURPOSE)
        hand_over = announced is not None and announced.key_id == prepared
        signer = prepared if hand_over and prepared else signing.key_id(self._keys, note.PURPOSE)
        point = Checkpoint(
            origin=self._origin,
            size=index.size,
            root=merkle.root_of([bytes.fromhex(item) for item in index.frontier]).hex(),
            n=(before.checkpoint.n if before else 0) + 1,
            ts=segment.timestamp(int(utc_now().timestamp() * 1_000_000)),
            prev=note.digest(before.note) if before else note.NO_NOTE,
            index=hashlib.sha256(data).hexdigest(),
            writers=index.writers_digest,
            keys=digest(self._ring.in_force(signer)),
        )
        signed = note.sign(self._keys, point, hand_over=hand_over)
        anchor = Anchor(point, signed, index, note.read(self._keys, signed)[1])
        if problem := anchors.why_not(before, anchor, anchors.note_key(point.n), point.n, self._origin):
            raise AuditError(f"the signer refuses checkpoint {point.n}: {problem}")
        self._store.create(anchors.index_key(point.n, point.index), data)
        self._store.create(anchors.note_key(point.n), anchor.note)
        self._adopt(anchor)
        return anchor


def _record_rejected(settings: Settings, rejected: dict[str, Fault]) -> None:
    for key, fault in rejected.items():
        known = {
            "actor_kind": "service",
            "actor_ref": "sequencer",
            "phase": "single",
            "severity": "major",
            "object_type": "segment",
            "object_id": key,
            "reason": fault.code,
            "details": {"seq": fault.seq},
        }
        payload = catalogue.complete("log_operation", known)
        idem = f"segment_rejected:{hashlib.sha256(canonical_bytes([key, fault.seq])).hexdigest()}"
        record.record_once(settings, "sequencer", [Entry("log_operation", "segment_rejected", payload, idem)])
        log.error("segment %s was rejected: %s", key, fault.detail)


def _copy_to_witness(settings: Settings, past: Sequence[Anchor]) -> None:
    """Copy every note the second store lacks.

    Raises:
        AuditError: it knows a checkpoint that the anchor store does not: somebody took the anchors back.
    """
    store = open_objects(settings.place.root)
    have = set(store.list(anchors.WITNESS))
    notes = {anchors.witness_key(anchor.checkpoint.n): anchor.note for anchor in past}
    if taken_back := sorted(have - notes.keys()):
        raise AuditError(f"ANCHOR_MISMATCH: the anchor store lacks {taken_back[0]}, which was signed before")
    for key in sorted(notes.keys() - have):
        store.create(key, notes[key])
