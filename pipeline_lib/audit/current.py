"""Is the evidence at least as new as its newest checkpoint? Asked once by each process before its first entry.

An older copy that somebody put back is sound in itself, and what is written onto it would stand where the lost
entries have to go. The last segment of the newest checkpoint is what no older copy has; whether that checkpoint is
the newest, the third store says. Source: audit.md T19, 8.3, F14.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pipeline_lib.audit import anchors, record
from pipeline_lib.errors import AppendFailed, AuditError, StoreError
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.settings import Settings


def require_current(settings: Settings) -> None:
    """Returns nothing; an empty record is current.

    Raises:
        AppendFailed: evidence or checkpoints are an older copy, or whether they are cannot be told.
    """
    place = settings.place
    _require(place.audit, place.audit_secondary, place.anchors, place.root, place.keys)


@cache
def _require(audit: str, second: str | None, signed: str, root: str, keys: Path) -> None:
    try:
        why = _behind(record.opened(audit, second), open_objects(signed), open_objects(root), KeyFolder(keys))
    except (StoreError, AuditError, OSError) as error:
        raise AppendFailed(f"whether the record is an older copy cannot be told: {error}") from error
    if why:
        raise AppendFailed(f"{why}: is it an older copy? Nothing is written until what is missing is put back")


def _behind(evidence: Objects, signed: Objects, root: Objects, keys: KeyFolder) -> str:
    newest, copies = anchors.newest(signed, keys), root.list(anchors.WITNESS)
    if copies and (newest is None or copies[-1] > anchors.witness_key(newest.checkpoint.n)):
        return f"ANCHOR_MISMATCH: {signed.url} ends before {copies[-1]}"
    last = newest.index.segments[-1].key if newest else ""
    return "" if not last or evidence.exists(last) else f"STORE_BEHIND_ANCHOR: {evidence.url} lacks {last}"
