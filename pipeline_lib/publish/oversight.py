"""The nightly question: is what serves what was decided, and does everything around the pointer agree with it?

The answer is a row of the record either way. Reads only; ``reconcile`` and ``registry.repair`` do the mending.
"""

from __future__ import annotations

from typing import Any

from pipeline_lib.business_time import utc_now
from pipeline_lib.errors import ActivationFailed, GateCannotJudge
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import open_objects
from pipeline_lib.publish.targets import Target, open_target
from pipeline_lib.registry import check, pointer, rows
from pipeline_lib.settings import Settings


def verify_champion(settings: Settings, target: Target | None = None) -> dict[str, Any]:
    """Registry, record and release target at once; the finding is recorded before it is raised.

    Returns:
        what serves and by which decision.

    Raises:
        GateCannotJudge: REGISTRY_CORRUPT with every finding.
        AuditError: the row is not durable.
    """
    target = target or open_target(settings.place.target)
    found = [*check.examine(settings), *_target(settings, target)]
    _record(settings, found)
    if found:
        raise GateCannotJudge("REGISTRY_CORRUPT", "; ".join(found))
    return check.require_consistent(settings)


def _target(settings: Settings, target: Target) -> list[str]:
    """What serves is what the pointer names, file by file; without a pointer there is nothing to compare with."""
    try:
        seen = pointer.read(open_objects(settings.place.root), KeyFolder(settings.place.keys))
    except check.WRONG:
        return []  # a finding of ``check.examine``
    try:
        serving = target.serving()
        if serving == seen.version and serving is not None:
            target.check(serving)
    except ActivationFailed as error:
        return [f"{target.name}: {error}"]
    if serving != seen.version:
        return [f"{target.name} serves {serving}, the pointer names {seen.version}; {check.RECONCILE}"]
    return []


def _record(settings: Settings, found: list[str]) -> None:
    moment = utc_now().isoformat()
    rows.operation(
        settings,
        rows.CHECKED,
        f"{rows.CHECKED}:{moment}",
        object_type="registry",
        object_id=moment,
        reason=f"{len(found)} findings" if found else "pointer, documents, decisions, package and target agree",
        severity="critical" if found else "info",
        details={"findings": found},
    )
