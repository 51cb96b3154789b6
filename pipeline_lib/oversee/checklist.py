"""The nightly checklist: readings in, a light and findings out. Deterministic and complete without any model."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
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

    monitor: str
    about: str
    light: Light
    what: str
    likely_cause: str
    suggested_action: str


def nightly(settings: Settings, readings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Judge tonight's readings, record the checklist and return it."""
    light, advice = judge(readings, settings.monitoring.checklist)
    moment = utc_now().isoformat()
    result = {"light": light, "readings": len(readings), "findings": [asdict(one) for one in advice]}
    record_operation(
        settings,
        "checklist_run",
        f"checklist_run:{moment}",
        service=SERVICE,
        object_type="checklist",
        object_id=moment,
        reason=f"{light}: {len(advice)} findings in {len(readings)} readings",
        severity="major" if light == "RED" else "info",
        details=result,
    )
    log.info("checklist %s", light)
    return result


def judge(readings: Sequence[Mapping[str, Any]], rules: Sequence[Rule]) -> tuple[Light, list[Advice]]:
    """The worst light of all findings. A monitor without a reading is a finding, and so is a reading without a rule."""
    advice = [*_silent(readings, rules), *(_advice(one, rules) for one in readings if one["state"] != "OK")]
    lights = {one.light for one in advice}
    return "RED" if "RED" in lights else "YELLOW" if lights else "GREEN", advice


def _silent(readings: Sequence[Mapping[str, Any]], rules: Sequence[Rule]) -> Iterator[Advice]:
    for monitor in sorted({rule.monitor for rule in rules} - {one["monitor"] for one in readings}):
        yield Advice(
            monitor, "all", "YELLOW", "no reading tonight", "the monitor did not run", "see the log of its task"
        )


def _advice(reading: Mapping[str, Any], rules: Sequence[Rule]) -> Advice:
    monitor, about = str(reading["monitor"]), str(reading["about"])
    what = f"{reading['statistic']}: {reading['cause']}"
    for rule in rules:
        if (rule.monitor, rule.state) == (monitor, reading["state"]):
            return Advice(monitor, about, rule.light, what, rule.likely_cause, rule.suggested_action)
    light: Light = "RED" if reading["state"] == "FAIL" else "YELLOW"
    cause = f"the checklist has no rule for {monitor} {reading['state']}"
    return Advice(monitor, about, light, what, cause, "decide what this reading asks for and add the rule")
