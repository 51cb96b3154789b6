"""Every planted leak is caught by the check that is meant to catch it; the clean twin passes."""

from __future__ import annotations

import re

import pytest

from pipeline_lib.contracts.leakage import FRAME_RULES, LABEL_RULES, TABLE_RULES, frame_findings, table_findings
from pipeline_lib.features.plants.leaky_frames import FRAME_PLANTS
from pipeline_lib.features.plants.leaky_tables import TABLE_PLANTS
from pipeline_lib.features.plants.run import PlantResult, judge_plants

ONLY_WARN = {"L19", "L20"}


@pytest.fixture(scope="module")
def results(small, tables, frame) -> dict[str, PlantResult]:
    return {row.plant: row for row in judge_plants(tables, frame, small.settings.leakage)}


@pytest.mark.parametrize("plant", [*TABLE_PLANTS, *FRAME_PLANTS], ids=lambda plant: plant.name)
def test_planted_leak_is_caught_with_its_numbers(results, plant):
    row = results[plant.name]
    assert row.verdict == "CAUGHT", row.message
    assert re.match(rf"{plant.check} FAIL: .+: {re.escape(plant.statistic)} = .+, limit .+\. .+", row.message)


@pytest.mark.parametrize("what", ["tables", "features"])
def test_clean_twin_has_no_failure(results, what: str):
    row = results[f"nothing planted ({what})"]
    assert row.verdict == "PASSED", row.message


def test_every_check_that_can_stop_a_run_has_a_plant():
    rules = [*TABLE_RULES, *FRAME_RULES, *LABEL_RULES]
    named = {check for rule in rules for check in re.findall(r"L\d\d", (rule.__doc__ or "").split(":")[0])}
    planted = {plant.check for plant in [*TABLE_PLANTS, *FRAME_PLANTS]}
    assert named - ONLY_WARN <= planted
    assert planted <= named


def test_a_plant_that_nothing_catches_is_reported_as_missed(small, tables, frame, monkeypatch):
    monkeypatch.setattr("pipeline_lib.features.plants.run.TABLE_PLANTS", TABLE_PLANTS[:1])
    monkeypatch.setattr("pipeline_lib.features.plants.run.FRAME_PLANTS", ())
    monkeypatch.setattr("pipeline_lib.contracts.leakage.TABLE_RULES", TABLE_RULES[1:])
    assert judge_plants(tables, frame, small.settings.leakage)[-1].verdict == "MISSED"


def test_findings_are_the_same_every_time(small, tables, frame):
    limits = small.settings.leakage
    assert table_findings(tables, limits) == table_findings(tables, limits)
    assert frame_findings(frame, limits) == frame_findings(frame, limits)
