"""Which keys the record knows, and in what state."""

from __future__ import annotations

from typing import Any

from pipeline_lib.audit.anchors import Anchor
from pipeline_lib.canonical import digest
from pipeline_lib.settings import Settings


def in_force(settings: Settings, anchor: Anchor) -> dict[str, Any] | None:
    """The keys whose digest a checkpoint names; None when that is not known here."""
    found = {"mac": settings.audit.key_id, "checkpoint": anchor.signers[-1]}
    return found if digest(found) == anchor.checkpoint.keys else None
