"""Who served at a moment in the past, as the versions' documents tell it."""

from __future__ import annotations

from datetime import datetime

from pipeline_lib.business_time import utc_now
from pipeline_lib.objects import Objects
from pipeline_lib.registry import states


def champion_at(objects: Objects, moment: datetime) -> str | None:
    """The version that served at ``moment``; None when none did.

    A run of an old date gets the same answer whenever it is made: what came after ``moment`` does not change it.
    """
    now = utc_now()
    spans = [
        (start, version)
        for version in states.listed(objects)
        for start, end in states.reigns(states.read(objects, version), now)
        if start <= moment < end
    ]
    return max(spans)[1] if spans else None
