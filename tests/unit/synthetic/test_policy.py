from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.errors import SettingsError
from pipeline_lib.ingest.adapters import synthetic
from pipeline_lib.ingest.source_tables import SourceTables
from pipeline_lib.settings import Place, load

from .conftest import LOGICAL_DATE, MakeSource


def test_the_generator_needs_no_files(make_source: MakeSource) -> None:
    assert synthetic.files(make_source(), None) == []


@pytest.mark.parametrize("name", ["customers", "seed", "world_start", "min_months", "preset", "rates"])
def test_a_missing_parameter_is_named(make_source: MakeSource, tmp_path: Path, name: str) -> None:
    source = make_source()
    params = {k: v for k, v in source.params.items() if k != name}
    with pytest.raises(SettingsError, match=rf"params\.{name} is missing"):
        synthetic.read(source.model_copy(update={"params": params}), None, LOGICAL_DATE, SourceTables(tmp_path))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("preset", "easy", "no preset named 'easy'; known: standard, hard"),
        ("rates", "high", "no rates named 'high'"),
        ("event_rate_scale", 0.0, "event_rate_scale must be above 0"),
        ("event_rate_scale", "much", "expected float, found 'much'"),
    ],
)
def test_an_impossible_law_is_refused(make_source: MakeSource, name: str, value: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        synthetic.laws_of(make_source(**{name: value}))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("world_start", "soon", "expected a date, found 'soon'"), ("customers", "many", "expected int, found 'many'")],
)
def test_an_impossible_bank_is_refused(make_source: MakeSource, name: str, value: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        synthetic.bank_of(make_source(**{name: value}), date(2026, 11, 23))


def test_a_product_without_a_law_is_refused(make_source: MakeSource) -> None:
    source = make_source()
    with pytest.raises(SettingsError, match=r"products \['direct_debit'\]"):
        synthetic.laws_of(source.model_copy(update={"products": source.products[:-1]}))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("presets: {standard: {churn: {observed: 0.5}}}", r"must be 1"),
        ("holdings: {churn_drop: [0.1, 0.2]}", "no label fires"),
        ("indices: {churn: {observed: [{weight: 1.0, of: [age]}]}}", r"observables \['age'\] do not exist"),
        ("rates: {benchmark: {lendings: 0.1}}", "rates.benchmark: expected"),
        ("situations: {value: {stable: 0.9}}", "situations.value: shares sum to"),
    ],
)
def test_a_contradiction_in_the_policy_is_refused_at_load(tmp_path: Path, override: str, message: str) -> None:
    file = tmp_path / "overrides.yaml"
    file.write_text(f"synthetic:\n  {override}\n")
    with pytest.raises(SettingsError, match=message):
        load("synthetic", Place(dataset="synthetic", overrides=file))


def test_the_laws_are_hashed_with_the_settings_of_the_synthetic_bank(tmp_path: Path) -> None:
    file = tmp_path / "overrides.yaml"
    file.write_text("synthetic: {events: {sticky: 0.6}}\n")
    shipped, changed = load("synthetic", Place(dataset="synthetic")), load("synthetic", Place(overrides=file))
    assert changed.source.generator is not None
    assert changed.source.generator.events.sticky == 0.6
    assert shipped.config_hash != changed.config_hash
