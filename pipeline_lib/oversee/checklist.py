"""The nightly checklist: readings in, a light and findings out. Deterministic and complete without any model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipeline_lib.audit.operation import record_operation
from pipeline_lib.business_time import utc_now
from pipeline_lib.settings import Settings
from pipeline_lib.settings.monitoring import Rule

log = logging.getLogger(__name__)
SERVICE = "oversight"
Light = Literal["GREEN", "YELLOW", "RED"]


@dataclass(frozen=True)
class Advice:
    """A reading that is not OK, with what people usually do about it."""

    about: str
    light: Light
    what: str
    likely_cause: str
    suggested_action: str


def nightly(settings: Settings, readings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Judge tonight's readings, record the checklist and return it."""
    light, advice = judge(readings, settings.monitoring.checklist)
    moment = utc_now().strftime("%Y-%m-%dT%H:%M:%SZ")
    result = {"light": light, "readings": len(readings), "findings": [asdict(one) for one in advice]}
    record_operation(
        settings,
        SERVICE,
        "checklist_run",
        f"checklist_run:{moment}",
        object_type="checklist",
        object_id=moment,
        reason=f"{light}: {len(advice)} findings in {len(readings)} readings",
        severity="major" if light == "RED" else "info",
        details=result,
    )
    log.info("checklist %s", light)
    return result


def judge(readings: Sequence[Mapping[str, Any]], rules: Sequence[Rule]) -> tuple[Light, list[Advice]]:
    """The worst light of all findings; no readings at all is YELLOW, because nobody looked."""
    if not readings:
        return "YELLOW", [
            Advice("all monitors", "YELLOW", "no readings", "the monitors did not run", "see the red task")
        ]
    advice = [_advice(reading, rule) for reading in readings for rule in rules if _matches(reading, rule)]
    lights = {one.light for one in advice}
    return "RED" if "RED" in lights else "YELLOW" if lights else "GREEN", advice


def _matches(reading: Mapping[str, Any], rule: Rule) -> bool:
    return bool(reading["monitor"] == rule.monitor and reading["state"] == rule.state)


def _advice(reading: Mapping[str, Any], rule: Rule) -> Advice:
    what = f"{reading['statistic']}: {reading['cause']}"
    return Advice(str(reading["about"]), rule.light, what, rule.likely_cause, rule.suggested_action)
