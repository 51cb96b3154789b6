"""What stays in use when a load is refused: the last good one, and the error says which that is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from pipeline_lib.errors import SchemaError
from pipeline_lib.runs import RunContext


@contextmanager
def named_when_refused(ctx: RunContext, stage: str) -> Iterator[None]:
    """Add to a SchemaError which load of this data set stays in use.

    Nothing has to be put back: a stage's files are published together and its manifest last, so a refused load has
    written nothing, and everything made from an earlier one (features, models, the champion) reads that one.
    """
    try:
        yield
    except SchemaError as error:
        day = newest_before(ctx, stage)
        kept = f"the load of {day} stays in use" if day else "there is no earlier load"
        raise SchemaError(f"{error.message}; nothing of this load is kept, {kept}", error.findings) from error


def newest_before(ctx: RunContext, stage: str) -> date | None:
    """Logical date of the newest finished run of the stage, this date's own included."""
    prefix = f"runs/{ctx.dataset}/"
    days = [
        date.fromisoformat(key.removeprefix(prefix).split("/")[0])
        for key in ctx.objects.list(prefix)
        if key.endswith(f"/{stage}/manifest.json")
    ]
    return max((day for day in days if day <= ctx.logical_date), default=None)
