"""FX1 to FX6: every rule finds what is planted and accuses nothing clean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline_lib import settings
from pipeline_lib.contracts.feature_checks import CAN_FAIL, RULES, feature_findings
from pipeline_lib.contracts.feature_table import FeatureTable, alike, standardised
from pipeline_lib.contracts.population import chance_psi, shares_of, stability_index
from pipeline_lib.settings import Place

ROWS, SCORED = 3000, 2000
GROUPS = {"behaviour": 8, "economics": 6, "waves": 5}


@pytest.fixture(scope="module")
def limits(tmp_path_factory):
    place = Place(dataset="synthetic", home=tmp_path_factory.mktemp("home"), threads=1)
    return settings.load("synthetic", place).features.checks


def table(seed: int = 1, rows: int = ROWS, scored: int = SCORED) -> FeatureTable:
    """Independent columns of three groups, a fifth of one group undefined, a country column and categories."""
    rng = np.random.default_rng(seed)
    names = [f"{group}_{k}" for group, width in GROUPS.items() for k in range(width)]
    groups = [group for group, width in GROUPS.items() for _ in range(width)]
    both = rng.gamma(2.0, 1.0, (rows + scored, len(names))).astype(np.float32)
    both[:, 8:14][rng.random((rows + scored, 6)) < 0.2] = np.nan
    both[:, 0] = np.log(rng.choice([0.9, 0.06, 0.04], rows + scored, p=[0.9, 0.06, 0.04]))
    names[0] = "country_freq"
    train, score = both[:rows], both[rows:]
    z = (train - np.nanmean(train, axis=0)) / np.maximum(np.nanstd(train, axis=0), 1e-6)
    used = {"mcc_5411": 900, "mcc_5812": 300}
    kinds = ["num"] * len(names)
    return FeatureTable(
        "small", names, groups, kinds, train, np.nan_to_num(np.clip(z, -10, 10)), score, 10.0, used, used
    )


def with_column(
    t: FeatureTable, name: str, train: np.ndarray, group: str = "planted", kind: str = "num"
) -> FeatureTable:
    """One more column; the rows to score draw from the same values."""
    again = np.random.default_rng(9).choice(train, len(t.score)).astype(np.float32)
    return replace(
        t,
        columns=[*t.columns, name],
        groups=[*t.groups, group],
        kinds=[*t.kinds, kind],
        train=np.column_stack([t.train, train.astype(np.float32)]),
        scaled=np.column_stack([t.scaled, np.zeros(len(t.train), np.float32)]),
        score=np.column_stack([t.score, again]),
    )


def changed(t: FeatureTable, part: str, column: int, values: np.ndarray) -> FeatureTable:
    own = getattr(t, part).copy()
    own[:, column] = values
    return replace(t, **{part: own})


def found(t: FeatureTable, limits) -> list[tuple[str, str, str]]:
    return [(f.check, f.column, f.verdict) for f in feature_findings(t, limits)]


def twice(t: FeatureTable, limits) -> list[tuple[str, str]]:
    """Columns of FX1 only: a copy in a group of its own is also explained by the others (FX3)."""
    return [(column, verdict) for check, column, verdict in found(t, limits) if check == "FX1"]


@pytest.mark.parametrize("seed", range(8))
def test_independent_columns_are_clean(seed: int, limits):
    skipped: dict[str, str] = {}
    assert feature_findings(table(seed), limits, skipped) == []
    assert not skipped


def test_a_column_that_is_another_one_in_other_words_is_found(limits):
    t = table()
    for name, copy in (("scaled", 3 * t.train[:, 2] - 7), ("monotone", -np.exp(t.train[:, 2]))):
        assert twice(with_column(t, name, copy), limits) == [("behaviour_2", "FAIL")]
    near = t.train[:, 2] + 0.2 * np.random.default_rng(2).normal(size=ROWS)
    assert twice(with_column(t, "near", near), limits) == []


def test_a_copy_that_is_defined_for_other_rows_is_found(limits):
    t = table()
    copy = np.where(np.random.default_rng(3).random(ROWS) < 0.4, np.nan, t.train[:, 9])
    assert twice(with_column(t, "copy", copy), limits) == [("economics_1", "FAIL")]


def test_declared_pairs_and_masks_may_say_the_same(limits):
    t = table()
    assert twice(with_column(t, "behaviour_2__log", np.log1p(t.train[:, 2])), limits) == []
    assert twice(with_column(t, "behaviour_3__log", np.log1p(t.train[:, 2])), limits) == [("behaviour_2", "FAIL")]
    flag = (np.random.default_rng(4).random(ROWS) < 0.7).astype(float)
    masks = with_column(with_column(t, "valid_a", flag, "mask", "mask"), "valid_b", flag, "mask", "mask")
    assert twice(masks, limits) == []
    pair = with_column(t, "hmm_dominant_state", t.train[:, 3], "a")
    pair = replace(pair, columns=[*pair.columns[:3], "hmm_lifecycle_dominant_state", *pair.columns[4:]])
    assert twice(pair, limits) == []


def test_flags_that_coincide_are_a_warning_and_rare_ones_nothing(limits):
    t = table()
    for holders, verdicts in ((10, []), (40, [("first", "WARN")])):
        flag = (np.arange(ROWS) < holders).astype(float)
        assert twice(with_column(with_column(t, "first", flag), "second", flag), limits) == verdicts


def test_counts_that_coincide_are_a_warning(limits):
    """Tenure and months observed of a young panel."""
    months = np.random.default_rng(12).integers(1, 13, ROWS)
    grown = with_column(with_column(table(), "tenure_months", months), "months_observed", months)
    assert twice(grown, limits) == [("tenure_months", "WARN")]


@pytest.mark.parametrize(("share", "verdict"), [(0.5, []), (0.8, ["WARN"]), (0.97, ["FAIL"])])
def test_a_group_without_values_is_found(share: float, verdict: list[str], limits):
    rng = np.random.default_rng(5)
    sparse = np.where(rng.random(ROWS) < share, np.nan, rng.normal(size=ROWS))
    assert [v for c, what, v in found(with_column(table(), "sparse", sparse), limits) if c == "FX2"] == verdict
    mask = (rng.random(ROWS) >= share).astype(float)
    masked = found(with_column(table(), "valid_x", mask, "mask", "mask"), limits)
    assert [v for c, what, v in masked if (c, what) == ("FX2", "valid_x")] == verdict


def test_a_group_that_others_explain_is_a_warning(limits):
    t = table()
    weights = np.random.default_rng(6).normal(size=8)
    mixture = np.nan_to_num(t.train[:, :8]) @ weights
    assert found(with_column(t, "mixture", mixture, "mixed"), limits) == [("FX3", "mixed", "WARN")]
    noisy = mixture + mixture.std() * np.random.default_rng(7).normal(size=ROWS)
    assert found(with_column(t, "mixture", noisy, "mixed"), limits) == []


def test_drift_warns_before_training_and_stops_scoring(limits):
    t = table()
    shifted = changed(t, "score", 2, t.score[:, 2] + 2)
    assert found(shifted, limits) == [("FX4", "behaviour_2", "WARN")]
    assert found(replace(shifted, scoring=True), limits) == [("FX4", "behaviour_2", "FAIL")]
    two = changed(shifted, "score", 3, t.score[:, 3] + 1)
    assert found(two, limits) == [("FX4", "behaviour_2", "WARN")]  # the worst of its group
    assert sum(verdict == "FAIL" for _, _, verdict in found(replace(two, scoring=True), limits)) == 2
    gone = changed(t, "score", 2, np.full(SCORED, np.nan))
    assert found(gone, limits) == [("FX4", "behaviour_2", "WARN")]


def test_a_drift_that_chance_explains_is_none(limits):
    few = table(rows=60, scored=60)
    assert [f for f in feature_findings(few, limits) if f.check == "FX4"] == []


def test_a_flag_that_only_appears_later_is_drift():
    before, now = shares_of(np.zeros(1000, np.float32), np.repeat(np.float32([0, 1]), 500), 10)
    assert stability_index(before, now) > 1
    same = shares_of(np.float32([0, 1] * 500), np.float32([1, 0] * 500), 10)
    assert stability_index(*same) == 0


def test_the_index_is_the_written_sum_over_deciles():
    rng = np.random.default_rng(8)
    a, b = rng.normal(size=20_000).astype(np.float32), rng.normal(0.4, 1, 20_000).astype(np.float32)
    edges = np.quantile(a, np.arange(1, 10) / 10)
    p, q = (np.bincount(np.searchsorted(edges, x), minlength=10) / len(x) for x in (a, b))
    assert stability_index(*shares_of(a, b, 10)) == pytest.approx(((q - p) * np.log(q / p)).sum(), rel=1e-2)


def test_chance_rarely_reaches_its_own_limit():
    rng = np.random.default_rng(10)
    draws = [stability_index(*shares_of(*rng.normal(size=(2, 400)).astype(np.float32), 10)) for _ in range(400)]
    assert np.mean(draws) == pytest.approx(9 * (2 / 400), rel=0.15)
    assert max(draws) < chance_psi(10, 400, 400, 4.5)


def test_clipped_values_are_counted_for_numbers_only(limits):
    t = table()
    far = np.where(np.arange(ROWS) < 30, 10.0, 0.0)
    assert found(changed(t, "scaled", 4, far), limits) == [("FX5", "behaviour_4", "WARN")]
    assert found(changed(t, "scaled", 4, np.where(np.arange(ROWS) < 10, -10.0, 0.0)), limits) == []
    flags = replace(changed(t, "scaled", 4, far), kinds=["bin"] * len(t.columns))
    assert found(flags, limits) == []


def test_words_train_never_saw_are_counted(limits):
    t = table()
    unseen = np.where(np.arange(SCORED) < 60, np.log(0.02), t.score[:, 0])
    assert ("FX6", "country_freq", "WARN") in found(changed(t, "score", 0, unseen), limits)
    fresh = replace(t, used_score={**t.used_score, "mcc_7995": 20})
    assert found(fresh, limits) == [("FX6", "transaction_event.mcc_idx", "WARN")]
    assert found(replace(t, used_score={**t.used_score, "mcc_7995": 5}), limits) == []


def test_too_few_rows_stop_the_rules_that_can_fail_and_are_reported_by_the_others(limits):
    skipped: dict[str, str] = {}
    found = feature_findings(table(rows=30, scored=30), limits, skipped)
    assert [(f.check, f.verdict) for f in found] == [("FX1", "UNJUDGED"), ("FX2", "UNJUDGED")]
    assert {key.split()[0] for key in skipped} == {"FX3", "FX4", "FX5", "FX6"}
    assert len(CAN_FAIL) == 2
    assert set(CAN_FAIL) <= set(RULES)


def test_the_search_finds_every_pair_that_is_one_number():
    """Against the correlation of every pair, one by one."""
    rng = np.random.default_rng(11)
    x = rng.normal(size=(500, 30)).astype(np.float32)
    x[:, 7], x[:, 21] = 2 * x[:, 3] + 1, -x[:, 12]
    x[rng.random(x.shape) < 0.1] = np.nan
    pairs = alike(standardised(x), ~np.isnan(x), 0.98)
    assert pairs == [(3, 7), (12, 21)]
