"""Each measure sees what it is for, and is quiet about two draws of one law."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from pipeline_lib.realism.cross_section import cramers_v, cross_section, total_variation
from pipeline_lib.realism.dynamics import autocorrelation, dynamics
from pipeline_lib.realism.records import neighbourhood, records
from pipeline_lib.realism.rows import Row, judged, worst
from pipeline_lib.settings.realism import Limit, Realism
from tests.unit.realism.conftest import bank


def found(rows: list[Row], metric: str) -> Row:
    (row,) = [row for row in rows if metric in row.metric]
    return row


def test_two_draws_of_one_law_pass(policy: Realism) -> None:
    a, b = bank("a", 1), bank("b", 2)
    rows = [*cross_section(a, b, policy), *dynamics(a, b, policy), *records(a, b, policy)]
    assert {row.verdict for row in rows if row.verdict != "INFO"} == {"PASS"}, [r for r in rows if r.verdict != "PASS"]


def test_a_shifted_column_is_seen_in_marginals_and_by_the_classifier(policy: Realism) -> None:
    rows = [
        *cross_section(bank("a", 1, shift=25), bank("b", 2), policy),
        *records(bank("a", 1, shift=25), bank("b", 2), policy),
    ]
    assert found(rows, "largest distance").verdict == "FAIL"
    assert "age" in found(rows, "largest distance").note
    assert found(rows, "classifier AUC on rows").verdict == "FAIL"


def test_lost_memory_is_seen_in_autocorrelation(policy: Realism) -> None:
    rows = dynamics(bank("a", 1, memory=0.0), bank("b", 2), policy)
    assert found(rows, "ln monthly spend, lag 1").verdict == "FAIL"
    assert found(rows, "num_products, lag 1").verdict == "PASS"


def test_products_added_at_another_rate_are_seen(policy: Realism) -> None:
    a = bank("a", 1)
    frozen = replace(
        a,
        held=np.repeat(a.held[:, :1], a.held.shape[1], axis=1) ^ (np.random.default_rng(0).random(a.held.shape) < 0.05),
    )
    row = found(dynamics(frozen, bank("b", 2), policy), "add rate")
    assert row.verdict == "FAIL"


def test_a_bank_that_repeats_half_of_the_other_is_caught(policy: Realism) -> None:
    real = bank("real", 3, customers=600)
    rows = records(replace(real, name="copy"), real, policy)
    assert found(rows, "exact duplicates").verdict == "FAIL"


@pytest.mark.parametrize("phi", [0.0, 0.4, 0.7])
def test_autocorrelation_recovers_the_law(phi: float) -> None:
    path = np.log(bank("a", 5, customers=4000, memory=phi).spend)
    assert autocorrelation(path, 1) == pytest.approx(phi, abs=0.09)


def test_autocorrelation_of_too_short_a_series_is_unknown() -> None:
    assert autocorrelation(np.random.default_rng(0).random((50, 5)), 1) is None
    assert autocorrelation(np.ones((50, 12)), 1) is None


def test_total_variation_of_known_shares() -> None:
    a, b = pl.Series("x", ["p"] * 3 + ["q"]), pl.Series("x", ["p", "q", "q", None])
    assert total_variation(a, b) == pytest.approx(0.5)
    assert total_variation(a, a) == 0.0


def test_cramers_v_of_a_copy_is_one_and_of_strangers_small() -> None:
    rng = np.random.default_rng(0)
    x = rng.choice(["a", "b", "c"], 3000)
    frame = pl.DataFrame({"x": x, "same": np.char.upper(x), "other": rng.choice(["u", "v"], 3000)})
    assert cramers_v(frame, "x", "same") == pytest.approx(1.0)
    assert cramers_v(frame, "x", "other") < 0.05


def test_neighbourhood_of_one_law_is_covered_and_of_a_far_one_is_not() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((400, 3)), rng.standard_normal((400, 3))
    near, far = neighbourhood(a, b), neighbourhood(a + 20, b)
    assert near["coverage"] > 0.9
    assert 0.8 < near["density"] < 1.2
    assert far == {"precision": 0.0, "recall": 0.0, "density": 0.0, "coverage": 0.0}


def test_a_value_between_pass_and_fail_is_weak_and_an_unknown_is_printed_as_unknown() -> None:
    limit = Limit(high=0.1, fail_above=0.2)
    assert [judged("f", "m", "s", value, limit).verdict for value in (0.1, 0.15, 0.21)] == ["PASS", "WEAK", "FAIL"]
    lost = judged("f", "m", "s", None, limit, note="no rows")
    assert (lost.verdict, lost.value, lost.note) == ("UNKNOWN", None, "no rows")
    assert worst([judged("f", "m", "s", 0.0, limit), lost]) == "UNKNOWN"


def test_a_bank_without_products_or_events_is_unknown_not_zero(policy: Realism) -> None:
    a = bank("a", 1)
    bare = replace(a, products=(), held=a.held[:, :, :0], gaps=np.array([]), bigrams={}, spend=np.zeros_like(a.spend))
    rows = dynamics(bare, bank("b", 2), policy)
    assert {row.metric: row.verdict for row in rows if row.verdict == "UNKNOWN"}.keys() >= {
        "product rates",
        "hazard of adding",
        "inter-event gaps, KS",
        "category chains, KL",
        "autocorrelation of ln monthly spend, lag 1",
    }
