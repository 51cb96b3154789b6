"""Every planted leak is caught by the check that is meant to catch it; the clean twins pass."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline_lib.contracts.leakage import (
    FRAME_RULES,
    LABEL_RULES,
    RAW_RULES,
    SCORE_RULES,
    TABLE_RULES,
    frame_findings,
    raw_findings,
    table_findings,
)
from pipeline_lib.contracts.leakage.text import ids_of
from pipeline_lib.features.plants.leaky_frames import FRAME_PLANTS
from pipeline_lib.features.plants.leaky_makers import MAKER_PLANTS
from pipeline_lib.features.plants.leaky_raw import RAW_PLANTS, honest
from pipeline_lib.features.plants.leaky_scores import SCORE_PLANTS
from pipeline_lib.features.plants.leaky_tables import TABLE_PLANTS
from pipeline_lib.features.plants.run import PlantResult, judge_plants

PLANTS = [*TABLE_PLANTS, *FRAME_PLANTS, *MAKER_PLANTS, *RAW_PLANTS, *SCORE_PLANTS]
RULES = [*TABLE_RULES, *FRAME_RULES, *LABEL_RULES, *RAW_RULES, *SCORE_RULES]
CATALOGUE = {f"L{n:02d}" for n in range(1, 31)}
OURS = {f"R{n:02d}" for n in range(1, 9)}
DOCS = Path(__file__).resolve().parents[3] / "docs" / "leakage.md"


@pytest.fixture(scope="module")
def results(small, tables, frame) -> dict[str, PlantResult]:
    return {row.plant: row for row in judge_plants(tables, frame, small.settings.leakage)}


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_planted_leak_is_caught_with_its_numbers(results, plant):
    row = results[plant.name]
    assert row.verdict == "CAUGHT", row.message
    expected = rf"{plant.check} {plant.verdict}: .+: {re.escape(plant.statistic)} = .+, limit .+\. .+"
    assert re.match(expected, row.message)


@pytest.mark.parametrize("what", ["tables", "features", "raw tables", "scores"])
def test_clean_twin_has_no_failure(results, what: str):
    row = results[f"nothing planted ({what})"]
    assert row.verdict == "PASSED", row.message


def test_every_id_of_the_catalogue_has_a_rule_and_a_plant():
    named = {check for rule in RULES for check in ids_of(rule)}
    assert named == CATALOGUE | OURS
    # L17 and L25 stop with R01's mechanism too, and L16 with the ancestors': each has a plant of its own.
    assert {plant.check for plant in PLANTS} == CATALOGUE | OURS


def test_every_rule_says_what_it_looks_for():
    assert not [rule.__name__ for rule in RULES if not ids_of(rule)]
    assert len({rule.__name__ for rule in RULES}) == len(RULES)


def test_the_page_for_people_lists_the_same_ids():
    rows = re.findall(r"^\| ([LR]\d\d) \|", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(rows) == sorted(CATALOGUE | OURS)


def test_the_page_for_people_names_every_plant():
    text = DOCS.read_text(encoding="utf-8")
    assert not [plant.name for plant in PLANTS if plant.name not in text]


def test_a_plant_that_nothing_catches_is_reported_as_missed(small, tables, frame, monkeypatch):
    monkeypatch.setattr("pipeline_lib.features.plants.run.TABLE_PLANTS", TABLE_PLANTS[:1])
    for empty in ("FRAME_PLANTS", "MAKER_PLANTS", "leaky_raw.RAW_PLANTS", "leaky_scores.SCORE_PLANTS"):
        monkeypatch.setattr(f"pipeline_lib.features.plants.run.{empty}", ())
    monkeypatch.setattr("pipeline_lib.contracts.leakage.TABLE_RULES", TABLE_RULES[1:])
    assert judge_plants(tables, frame, small.settings.leakage)[-1].verdict == "MISSED"


def test_findings_are_the_same_every_time(small, tables, frame):
    limits = small.settings.leakage
    assert table_findings(tables, limits) == table_findings(tables, limits)
    assert frame_findings(frame, limits) == frame_findings(frame, limits)
    assert raw_findings(honest().blind(), limits) == raw_findings(honest().blind(), limits)
