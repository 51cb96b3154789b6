from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from pipeline_lib.contracts.tables import ADAPTER_SNAPSHOT, SEGMENTS
from pipeline_lib.ingest.adapters.synthetic import laws_of
from pipeline_lib.ingest.synthetic import customers, demographics, frames, truth
from pipeline_lib.ingest.synthetic.laws import Laws
from pipeline_lib.ingest.synthetic.world import Bank, BlockMonth

from .conftest import MakeSource


@pytest.fixture(scope="module")
def newest(small: tuple[Laws, Bank], months: list[BlockMonth]) -> pl.DataFrame:
    return frames.snapshot(small[0], months[-2])


def test_profiles_are_within_the_canonical_ranges(newest: pl.DataFrame) -> None:
    for column in ADAPTER_SNAPSHOT:
        values = newest.get_column(column.name)
        assert values.dtype == column.dtype
        assert column.nullable or values.null_count() == 0
        if column.low is not None:
            assert values.drop_nulls().is_between(column.low, column.high).all(), column.name


def test_income_is_missing_for_a_quarter_and_tenure_for_a_twentieth(newest: pl.DataFrame) -> None:
    assert 0.20 < newest.get_column("income").is_null().mean() < 0.31
    assert 0.03 < newest.get_column("tenure_months").is_null().mean() < 0.07


def test_segments_have_the_mix_of_the_personas(small: tuple[Laws, Bank], months: list[BlockMonth]) -> None:
    segment = frames.segment(months[-2]).get_column("segment")
    assert set(segment.unique()) == set(SEGMENTS)
    known = segment.filter(segment != "UNKNOWN")
    share = [(known == name).mean() for name in SEGMENTS[:3]]
    assert share == pytest.approx([0.24, 0.59, 0.17], abs=0.05)


def test_the_copula_ties_age_income_and_tenure(make_source: MakeSource) -> None:
    laws = laws_of(make_source(customers=20_000))
    people = customers.draw(laws, 5, 0, 0, 20_000)
    profile = demographics.draw(laws, people)
    spender = people.persona == laws.persona_names.index("active_spender")
    table = np.corrcoef([profile.age[spender], np.log(profile.income[spender]), profile.tenure[spender]])
    assert table[0, 1] == pytest.approx(0.3, abs=0.06)
    assert table[0, 2] == pytest.approx(0.5, abs=0.06)
    assert table[1, 2] == pytest.approx(0.4, abs=0.06)


def test_rows_grow_as_in_the_real_panel_and_a_few_customers_miss_a_month(
    small: tuple[Laws, Bank], months: list[BlockMonth]
) -> None:
    laws, bank = small
    entry = customers.draw(laws, bank.seed, 0, 0, 50_000).entry
    entered = [(entry <= month).mean() for month in (0, 5, 6, 16)]
    assert entered == pytest.approx([625_457 / 931_453, 632_110 / 931_453, 829_817 / 931_453, 1.0], abs=0.01)
    rows = np.array([part.state.present.sum() for part in months[:-1]])
    gaps = sum(
        int((a.state.present & ~b.state.present & c.state.present).sum())
        for a, b, c in zip(months, months[1:], months[2:], strict=False)
    )
    assert 0.002 < gaps / rows.sum() < 0.008


def test_age_and_tenure_grow_with_time(months: list[BlockMonth]) -> None:
    first, last = months[0].state, months[12].state
    both = first.present & last.present
    grown = last.tenure[both] - first.tenure[both]
    assert set(grown[last.tenure[both] < demographics.MAX_TENURE]) == {12}


def test_nothing_hidden_is_in_a_canonical_table(small: tuple[Laws, Bank], months: list[BlockMonth]) -> None:
    laws, bank = small
    hidden = set(truth.ground_truth(laws, bank).columns) - {"customer_id", "snapshot_date"}
    assert {"persona", "z_wealth", "situation_value", "signal_churn", "p_churn"} <= hidden
    tables = [frames.snapshot(laws, months[3]), frames.segment(months[3])]
    tables += [rows for _, rows in frames.events(months[3], bank.logical_date)]
    for table in tables:
        assert not hidden & set(table.columns)
        text = set().union(*(set(table.get_column(c).unique()) for c in table.columns if table.schema[c] == pl.String))
        assert not text & set(laws.persona_names)


def test_the_truth_has_a_row_for_every_row_of_the_panel(small: tuple[Laws, Bank], months: list[BlockMonth]) -> None:
    told = truth.ground_truth(*small)
    shown = pl.concat(
        [
            frames.segment(part).select("customer_id", snapshot_date=pl.lit(part.state.month.snapshot))
            for part in months[:-1]
        ]
    )
    assert told.select("customer_id", "snapshot_date").sort(pl.all()).equals(shown.sort(pl.all()))


def test_latents_keep_their_law(small: tuple[Laws, Bank], months: list[BlockMonth]) -> None:
    laws, _ = small
    activity = np.stack([part.state.latents[:, laws.policy.latents.index("activity")] for part in months])
    step = activity[1:4] - activity[:3]  # before the ramp the centre does not move
    path = laws.policy.latent_path
    assert step.std() == pytest.approx(path.stationary_sd * np.sqrt(2 * (1 - path.persistence)), rel=0.05)
    surging = months[0].customers.situation["engagement"] == 1
    declining = months[0].customers.situation["engagement"] == 2
    change = activity[15:].mean(axis=0) - activity[:3].mean(axis=0)
    assert change[surging].mean() == pytest.approx(0.5, abs=0.15)
    assert change[declining].mean() == pytest.approx(-0.5, abs=0.15)
