"""Ceilings on samples whose true ceiling is known."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from pipeline_lib.realism import ceilings
from pipeline_lib.realism.scores import Sample
from pipeline_lib.settings.realism import Band, Realism

DAY = date(2026, 1, 28)


def sample(seed: int, rows: int = 4000, leak: bool = False) -> tuple[Sample, pl.DataFrame]:
    """P(y) = logistic(observed + latent); the features carry the observed part alone, or the label as well."""
    rng = np.random.default_rng(seed)
    observed, latent = rng.standard_normal(rows), rng.standard_normal(rows)
    y = (rng.random(rows) < 1 / (1 + np.exp(1.5 - observed - latent))).astype(np.float64)
    x = {"a": observed, "b": rng.standard_normal(rows)} | ({"c": y + 0.3 * rng.standard_normal(rows)} if leak else {})
    split = rng.choice(["train", "val", "test"], rows, p=[0.6, 0.2, 0.2])
    keys = pl.DataFrame({"customer_key": np.arange(rows), "cutoff_date": [DAY] * rows})
    persona = pl.Series("persona", rng.choice(["p", "q"], rows))
    truth = keys.with_columns(persona, obs_churn=observed, signal_churn=observed + latent)
    return Sample(pl.DataFrame(x).cast(pl.Float32), y, split, keys), truth


BAND = Band(metric="auc", observed=0.7, oracle=0.8)


def judged(policy: Realism, leak: bool) -> dict[str, str]:
    made, truth = sample(1, leak=leak)
    rows = ceilings._task("bank", "churn_signal", "binary", BAND, made, truth, policy, (1, 2))
    return {row.metric: row.verdict for row in rows}


def test_a_model_on_observables_lies_between_the_measured_ceilings(policy: Realism) -> None:
    verdicts = judged(policy, leak=False)
    assert verdicts["churn_signal auc"] == "PASS"
    assert verdicts["persona to churn_signal, AUC"] == "PASS"


def test_a_score_above_the_oracle_fails(policy: Realism) -> None:
    verdicts = judged(policy, leak=True)
    assert verdicts["churn_signal auc"] == "FAIL"
    assert verdicts["depth-3 tree to churn_signal, AUC"] == "WEAK"


def test_a_task_with_too_few_rows_is_unknown(policy: Realism) -> None:
    made, truth = sample(1, rows=200)
    (row,) = ceilings._task("bank", "churn_signal", "binary", BAND, made, truth, policy, (1,))
    assert row.verdict == "UNKNOWN"
    assert "expected 100" in row.note


def test_a_band_needs_a_bound() -> None:
    with pytest.raises(ValueError, match="state a band"):
        Band(metric="auc")
