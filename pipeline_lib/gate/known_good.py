"""Which versions one person alone may bring back: those that have served, long enough and recently enough.

Known-good = was champion within the last ``known_good_days`` for at least ``known_good_hours``, the package
verifies, not quarantined. When it served is read from the record: no document can make a version known-good.
Forcing any other takes a second person first. Source: promotion.md sections 2 and 8;
overview.md's ruling (only a former champion by one) is the weaker of the two and holds as well.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pipeline_lib.errors import AuditError, GateCannotJudge, ManifestMismatch, ObjectMissing, SignatureInvalid
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.registry import effective, states, versions
from pipeline_lib.settings import Settings


def known_good(settings: Settings, now: datetime) -> list[str]:
    """The known-good versions, sorted."""
    listed = states.listed(open_objects(settings.place.root))
    return [version for version in listed if why_not_known_good(settings, version, now) is None]


def why_not_known_good(settings: Settings, version: str, now: datetime) -> str | None:
    """In words, for the person who wants to force it; None when it is known-good.

    Raises:
        ObjectMissing: no such version.
    """
    objects, policy = open_objects(settings.place.root), settings.promotion.force
    marked = states.read(objects, version)["state"] == "quarantined"
    try:
        history = effective.read(settings)
    except (AuditError, GateCannotJudge) as error:
        return f"the record does not say whether it served: {type(error).__name__}: {error}"
    if marked or history.quarantined.get(version):
        return "it is quarantined"
    reigns = history.reigns(version, now)
    if not reigns:
        return "it was never champion"
    since, enough = now - timedelta(days=policy.known_good_days), timedelta(hours=policy.known_good_hours)
    recent = [end - start for start, end in reigns if end >= since]
    if not recent:
        return f"it last served before {since.date()}"
    if max(recent) < enough:
        hours = max(recent).total_seconds() / 3600
        return f"it served for {hours:.1f} h at most, known-good is {policy.known_good_hours} h"
    return unverified(objects, KeyFolder(settings.place.keys), version)


def unverified(objects: Objects, keys: KeyFolder, version: str) -> str | None:
    """Why signature or hashes do not hold; None when they do."""
    try:
        versions.verify(objects, keys, version)
    except (ObjectMissing, ManifestMismatch, SignatureInvalid) as error:
        return f"it does not verify: {type(error).__name__}: {error}"
    return None
