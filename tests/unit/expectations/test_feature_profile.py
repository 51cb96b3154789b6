"""The gold suite on the feature matrix: each rule fails on its own defect and on nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from pipeline_lib.expectations.feature_profile import SUITE, feature_profile
from pipeline_lib.expectations.suites import verdicts
from pipeline_lib.settings import CONFIG
from pipeline_lib.settings.data import Expectation

SHIPPED = yaml.safe_load((CONFIG / "data.yaml").read_text(encoding="utf-8"))["suites"][SUITE]
RULES = {name: Expectation.model_validate(rule) for name, rule in SHIPPED.items()}
ROWS = 200


def world() -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """A clean matrix of four columns: a number with holes, a flag, and two probabilities that sum to one."""
    rng = np.random.default_rng(3)
    age = rng.normal(40.0, 9.0, ROWS).astype(np.float32)
    age[::10] = np.nan
    p = rng.uniform(0, 1, ROWS).astype(np.float32)
    raw = pl.DataFrame(
        {
            "customer_key": range(ROWS),
            "cutoff_date": ["2026-01-28"] * ROWS,
            "split": ["train"] * 150 + ["val"] * 50,
            "part": ["fit"] * 150 + ["stop"] * 50,
            "age": age,
            "is_active": (np.arange(ROWS) % 2).astype(np.float32),
            "p_0": p,
            "p_1": 1 - p,
        }
    )
    train = age[:150][~np.isnan(age[:150])].astype(np.float64)
    mean, std = float(train.mean()), float(train.std())
    z = np.clip(np.nan_to_num((age - mean) / std, nan=0.0), -3, 3).astype(np.float32)
    kinds = {"age": ("base", "num"), "is_active": ("base", "bin"), "p_0": ("mix", "prob"), "p_1": ("mix", "prob")}
    columns = [
        {"name": n, "group": g, "kind": k, "mean": mean if k == "num" else 0.0, "std": std if k == "num" else 1.0}
        for n, (g, k) in kinds.items()
    ]
    return raw, raw.with_columns(age=pl.Series(z)), {"columns": columns}


def failing(tmp_path: Path, raw: pl.DataFrame, scaled: pl.DataFrame, schema: dict[str, Any]) -> set[str]:
    paths = tmp_path / "raw.parquet", tmp_path / "scaled.parquet"
    for frame, path in zip((raw, scaled), paths, strict=True):
        frame.write_parquet(path)
    found = verdicts({SUITE: feature_profile(*paths, schema)}, {SUITE: RULES})
    return {v["rule"] for v in found if not v["success"]}


def test_a_clean_matrix_passes_every_rule(tmp_path: Path) -> None:
    assert failing(tmp_path, *world()) == set()


Defect = Callable[[pl.DataFrame, pl.DataFrame, dict[str, Any]], tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]]
first = pl.int_range(pl.len()) == 0


def _raw(**changed: pl.Expr) -> Defect:
    return lambda raw, scaled, schema: (raw.with_columns(**changed), scaled, schema)


def _scaled(**changed: pl.Expr) -> Defect:
    return lambda raw, scaled, schema: (raw, scaled.with_columns(**changed), schema)


def _age(**changed: float) -> Defect:
    """The schema's mean or deviation of age moved by so much."""

    def defect(raw: pl.DataFrame, scaled: pl.DataFrame, schema: dict[str, Any]) -> Any:
        age, *others = schema["columns"]
        moved = {name: age[name] + by for name, by in changed.items()}
        return raw, scaled, {"columns": [age | moved, *others]}

    return defect


def _columns_swapped(raw: pl.DataFrame, scaled: pl.DataFrame, schema: dict[str, Any]) -> Any:
    return raw.select(*raw.columns[:4], "is_active", "age", "p_0", "p_1"), scaled, schema


def _column_twice(raw: pl.DataFrame, scaled: pl.DataFrame, schema: dict[str, Any]) -> Any:
    return raw, scaled, {"columns": [*schema["columns"], schema["columns"][1]]}


def _once(value: float, name: str) -> pl.Expr:
    return pl.when(first).then(value).otherwise(name)


DEFECTS: dict[str, tuple[Defect, set[str]]] = {
    "columns_swapped": (_columns_swapped, {"schema_order"}),
    "a_column_twice": (_column_twice, {"names_unique", "schema_order"}),
    "nan_after_filling": (_scaled(age=_once(float("nan"), "age")), {"no_nan"}),
    "infinite": (_scaled(age=_once(float("inf"), "age")), {"no_inf"}),
    "dead": (_raw(is_active=pl.lit(1.0)), {"alive"}),
    "scaled_on_other_rows": (_age(std=0.5), {"scaled"}),
    "centred_on_other_rows": (_age(mean=0.5), {"centred"}),
    "negative_probability": (_raw(p_0=_once(-0.1, "p_0")), {"probability_low", "probability_sum"}),
    "probability_above_one": (_raw(p_0=_once(1.1, "p_0")), {"probability_high", "probability_sum"}),
    "sum_is_not_one": (_raw(p_1=pl.col("p_1") * 0.99), {"probability_sum"}),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_rule_fails_on_its_defect_alone(defect: str, tmp_path: Path) -> None:
    damage, expected = DEFECTS[defect]
    assert failing(tmp_path, *damage(*world())) == expected


def test_every_rule_has_a_defect_that_it_finds() -> None:
    assert set().union(*(rules for _, rules in DEFECTS.values())) == set(RULES)
