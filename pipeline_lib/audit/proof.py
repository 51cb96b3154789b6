"""Proof bundles: rows of the record with everything a stranger needs to see that they are in it, unchanged.

A bundle is canonical JSON, a function of the rows, the checkpoints and the verifier only; every byte of it is bound
by a signature or a hash, so that ``offline_verifier`` refuses it after any change:

    format, origin, verifier_sha256   SHA-256 of the verifier file that goes with it
    public_keys                       the keys that signed the checkpoints below (hex)
    checkpoints                       in order, the newest last: those that cover the rows, and those that hand over
                                      the signing key. {note, keys, writers, consistency}: the signed note; the
                                      registry of keys and the chains whose digests it names (null when not shown);
                                      the path that proves it a prefix of the newest
    rows                              {ckpt_n, leaf_index, path, line}: the row as stored, and its inclusion path

Source: audit.md 4.9; RFC 9162 2.1.3, 2.1.4.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from pipeline_lib import signing
from pipeline_lib.audit import anchors, evidence, keyring, merkle, note, record, segment
from pipeline_lib.audit.anchors import Anchor, Covered
from pipeline_lib.audit.keyring import Ring
from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.errors import AuditError
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.settings import Settings

FORMAT = "alog/bundle/v1"
MAX_HEADS = 500
"""A checkpoint over more chains than this is shown without them: they prove little beyond the row itself."""


class RowName(NamedTuple):
    """What a row is called."""

    writer_id: str
    epoch: int
    seq: int


class _Place(NamedTuple):
    """Where a row is: in which segment, as which leaf, under which checkpoint first."""

    name: RowName
    segment: Covered
    offset: int
    leaf_index: int
    anchor: Anchor


def bundle(settings: Settings, rows: Iterable[tuple[str, int, int]]) -> bytes:
    """The proof bundle of rows named ``(writer_id, epoch, seq)``, in their order.

    Raises:
        AuditError: no row is named, one is not in the record or not covered by a checkpoint yet, the evidence holds
            something else than the checkpoint covers, or the checkpoints do not verify.
    """
    keys, origin = KeyFolder(settings.place.keys), record.origin(settings)
    past = anchors.history(open_objects(settings.place.anchors), keys, origin)
    tree = merkle.Tree([bytes.fromhex(leaf) for anchor in past for leaf in anchor.index.leaves])
    places = [_placed(past, RowName(*row)) for row in rows]
    if not places:
        raise AuditError("a proof is of at least one row")
    shown = _shown(past, places)
    store, rings = record.store(settings), record.rings(settings)
    public = signing.public_keys(keys, note.PURPOSE)
    body = {
        "format": FORMAT,
        "origin": origin,
        "verifier_sha256": hashlib.sha256(verifier()).hexdigest(),
        "public_keys": sorted({signing.raw_public(public[key]).hex() for anchor in shown for key in anchor.signers}),
        "checkpoints": [_checkpoint(rings, tree, anchor, shown[-1]) for anchor in shown],
        "rows": [_row(store, tree, place) for place in places],
    }
    return canonical_bytes(body)


def verifier() -> bytes:
    """The offline verifier: one Python file to hand out beside a bundle."""
    return Path(__file__).with_name("offline_verifier.py").read_bytes()


def export(settings: Settings, rows: Iterable[tuple[str, int, int]], folder: Path) -> list[Path]:
    """Write ``bundle.json``, the verifier and the newest public key into a folder, for somebody outside.

    The key is there for convenience; whoever does not trust the folder brings a key of their own.
    """
    public = signing.public_pem(KeyFolder(settings.place.keys), note.PURPOSE)
    files = {"bundle.json": bundle(settings, rows), "offline_verifier.py": verifier(), "checkpoint.pub": public}
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


def _placed(past: Sequence[Anchor], name: RowName) -> _Place:
    prefix = f"{evidence.FOLDER}/{name.writer_id}/{name.epoch:010}/"
    for anchor in past:
        leaf = anchor.index.first_leaf
        for item in anchor.index.segments:
            first = evidence.first_seq(item.key)
            if item.key.startswith(prefix) and first <= name.seq < first + item.rows:
                return _Place(name, item, name.seq - first, leaf + name.seq - first, anchor)
            leaf += item.rows
    raise AuditError(f"{_called(name)}: no checkpoint covers such a row (yet)")


def _shown(past: Sequence[Anchor], places: Sequence[_Place]) -> list[Anchor]:
    """The checkpoints that cover the rows, the newest, and from the first of them on every hand-over of the key."""
    covering = {place.anchor.checkpoint.n for place in places}
    first = min(covering)
    wanted = covering | {past[-1].checkpoint.n}
    return [a for a in past if a.checkpoint.n in wanted or (a.checkpoint.n > first and len(a.signers) > 1)]


def _checkpoint(rings: Sequence[Ring], tree: merkle.Tree, anchor: Anchor, newest: Anchor) -> dict[str, Any]:
    heads = [asdict(head) for head in anchor.index.heads]
    path = tree.consistency(anchor.checkpoint.size, newest.checkpoint.size)
    return {
        "note": anchor.note.decode(),
        "keys": keyring.in_force(rings, anchor),
        "writers": {"epochs": anchor.index.epochs, "heads": heads} if len(heads) <= MAX_HEADS else None,
        "consistency": [step.hex() for step in path],
    }


def _row(store: Objects, tree: merkle.Tree, place: _Place) -> dict[str, Any]:
    data = store.get(place.segment.key)
    if hashlib.sha256(data).hexdigest() != place.segment.sha256 and not _is_reduced(data, place):
        n = place.anchor.checkpoint.n
        raise AuditError(f"{_called(place.name)}: {place.segment.key} is not the segment under checkpoint {n}")
    path = tree.inclusion(place.leaf_index, place.anchor.checkpoint.size)
    return {
        "ckpt_n": place.anchor.checkpoint.n,
        "leaf_index": place.leaf_index,
        "path": [step.hex() for step in path],
        "line": json.loads(data.split(b"\n")[place.offset]),
    }


def _is_reduced(data: bytes, place: _Place) -> bool:
    """Payloads went and the row is still the leaf under its checkpoint."""
    rows, index = segment.lines(data), place.anchor.index
    is_leaf = rows[place.offset].leaf.hex() == index.leaves[place.leaf_index - index.first_leaf]
    return is_leaf and any(one.dropped for one in rows)


def _called(name: RowName) -> str:
    return f"{name.writer_id} epoch {name.epoch} entry {name.seq}"
