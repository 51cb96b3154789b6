"""Which verdict a run asks for: the one it got before, a new one for real, or a dry run.

A run that was judged keeps its verdict. Otherwise it is judged for real unless it must not change the champion: a
backfill, a run older than one that was judged for real or that serves, a run started by hand that nobody called
promotable. Those are dry runs, whatever the caller asked for. Source: promotion.md section 12.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects
from pipeline_lib.registry import decisions, pointer
from pipeline_lib.registry.decisions import Judged
from pipeline_lib.runs import RunContext

Mode = Literal["evaluate", "dry_run"]
BACKFILL = "a backfill never changes the champion"
OLDER = "an older run than one that was judged for real"
BY_HAND = "started by hand and not called promotable"


@dataclass(frozen=True)
class Attempt:
    judged: Judged
    why_dry: str | None
    """Why it is a dry run; None when it is none."""

    @property
    def mode(self) -> str:
        return self.judged.mode


def identify(
    ctx: RunContext, manifest_sha256: str, mode: Mode, *, started_by: str | None, promotable: bool | None
) -> Attempt:
    """The identity of the verdict this run asks for.

    Args:
        mode: what the caller asks for; a real verdict may be refused, a dry run never is.
        started_by: who started the run by hand, None for a schedule.
        promotable: whether it was said that the run may change the champion; a run of the schedule needs no word.
    """
    real, dry = (_latest(ctx, manifest_sha256, one) for one in ("evaluate", "dry_run"))
    if mode == "dry_run":
        return Attempt(dry, BACKFILL)
    if decisions.recall(ctx.objects, real) is not None:
        return Attempt(real, None)
    if is_older(ctx):
        return Attempt(dry, OLDER)
    if promotable is False or (started_by is not None and not promotable):
        return Attempt(dry, BY_HAND)
    return Attempt(real, None)


def is_older(ctx: RunContext) -> bool:
    """Whether a newer run was judged for real, or a version of a newer run serves."""
    champion = pointer.read(ctx.objects, KeyFolder(ctx.settings.place.keys)).version
    served = [day for day in [_day_of(champion)] if day is not None]
    return any(day > ctx.logical_date for day in [*served, *_judged_days(ctx.objects, ctx.dataset)])


def _latest(ctx: RunContext, manifest_sha256: str, mode: str) -> Judged:
    """One that expired, was superseded, voided or failed is followed by another attempt."""
    judged = Judged(
        dataset=ctx.dataset,
        logical_date=ctx.logical_date.isoformat(),
        manifest_sha256=manifest_sha256,
        mode=mode,
        config_hash=ctx.settings.config_hash,
    )
    while (kept := decisions.recall(ctx.objects, judged)) and decisions.over(
        ctx.objects, kept["decision"]["decision_id"]
    ):
        judged = replace(judged, attempt=judged.attempt + 1)
    return judged


def _judged_days(objects: Objects, dataset: str) -> set[date]:
    """Dates of the runs that were judged for real: ``registry/judged/<dataset>/<date>/<manifest>/<mode>-...``."""
    found = [key.split("/") for key in objects.list(f"registry/judged/{dataset}")]
    return {date.fromisoformat(parts[3]) for parts in found if parts[-1].startswith("evaluate-")}


def _day_of(version: str | None) -> date | None:
    """The logical date in a version's name, ``v<YYYYMMDD>-<8 hex>``; the pointer that names it is signed."""
    digits = version[1:9] if version else ""
    return date.fromisoformat(digits) if len(digits) == 8 and digits.isdigit() else None
