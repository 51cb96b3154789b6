"""Checkpoints in somebody else's hands: the newest note goes out, notes kept there are compared with the record.

Whoever holds all keys and stores of the record can write a second history of it; a note that was sent to people
outside, as a mail to internal audit, is what such a person cannot take back. Source: audit.md 4.7, 13.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pipeline_lib.audit import anchors, note, record
from pipeline_lib.audit.anchors import Anchor
from pipeline_lib.audit.note import Checkpoint
from pipeline_lib.errors import AuditError, ObjectExists, RequestRefused, SignatureInvalid
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import open_objects
from pipeline_lib.settings import Settings


class Kept(NamedTuple):
    """One note as somebody outside kept it."""

    name: str
    point: Checkpoint | None
    """None when it is no signed checkpoint of this record."""
    digest: str
    why: str = ""
    """Why it cannot be compared."""


class Mismatch(NamedTuple):
    detail: str
    n: int
    """First checkpoint in doubt: the one after the newest that a kept note vouches for."""


def newest(settings: Settings) -> tuple[Checkpoint, bytes]:
    """The newest checkpoint and its signed note. Raises AuditError: there is none, or the checkpoints do not hold."""
    signed = open_objects(settings.place.anchors)
    past = anchors.history(signed, KeyFolder(settings.place.keys), record.origin(settings))
    if not past:
        raise AuditError("no checkpoint exists: `commit_audit` of a run makes the first")
    return past[-1].checkpoint, past[-1].note


def export(settings: Settings, url: str) -> str:
    """Write the newest note to a store, under its number; the key written. Sending it twice is one note.

    Args:
        url: ``file:///folder`` or ``s3://bucket/prefix``.

    Raises:
        AuditError: as ``newest``.
        RequestRefused: another note of that number is there already.
    """
    point, data = newest(settings)
    key, store = anchors.note_key(point.n), open_objects(url)
    try:
        store.create(key, data)
    except ObjectExists as error:
        if store.get(key) != data:
            raise RequestRefused(f"{url} holds another checkpoint {point.n}: run `verify --witness` with it") from error
    return key


def read(settings: Settings, files: Mapping[str, bytes]) -> list[Kept]:
    """Kept notes by number, those that cannot be compared last. Line ends that a mail changed are put right."""
    keys, origin = KeyFolder(settings.place.keys), record.origin(settings)
    found = [_read(keys, origin, name, data) for name, data in sorted(files.items())]
    return sorted(found, key=lambda kept: (kept.point is None, kept.point.n if kept.point else 0))


def mismatches(past: Sequence[Anchor], kept: Iterable[Kept]) -> list[Mismatch]:
    """Kept notes that the record does not hold, in order of number."""
    ours = {anchor.checkpoint.n: note.digest(anchor.note) for anchor in past}
    found, vouched = [], 0
    for name, point, digest, _ in kept:
        if point is None:
            continue
        if ours.get(point.n - 1) == point.prev:
            vouched = max(vouched, point.n - 1)  # each note names the one before it
        if point.n not in ours:
            found.append(
                Mismatch(f"{name}: checkpoint {point.n} was signed once; the record ends before it", vouched + 1)
            )
        elif ours[point.n] != digest:
            found.append(Mismatch(f"{name}: checkpoint {point.n} is another one in the record", vouched + 1))
        else:
            vouched = max(vouched, point.n)
    return found


def _read(keys: KeyFolder, origin: str, name: str, data: bytes) -> Kept:
    text = data.replace(b"\r\n", b"\n").strip() + b"\n"
    digest = note.digest(text)
    try:
        point = note.opened(keys, text)
    except SignatureInvalid as error:
        return Kept(name, None, digest, str(error.args[0]))
    why = "" if point.origin == origin else f"it is of {point.origin}"
    return Kept(name, None if why else point, digest, why)
