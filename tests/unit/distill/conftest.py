"""A fabricated chain: features, labels and a teacher whose soft labels are a known function of the features."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from scipy.special import expit, softmax

from pipeline_lib import settings
from pipeline_lib.runs import Out, RunContext
from pipeline_lib.settings import Place, Settings
from pipeline_lib.settings.distillation import Distillation

DAY = date(2026, 11, 23)
GROUPS = {
    "demographics": ["age", "sex_f", "tenure_months"],
    "tda_long": ["tda_long_local_h0_entropy", "tda_long_local_h1_max"],
    "economics": ["savings_propensity", "income_elasticity", "transitory_income_avg", "spending_risk"],
    "txn_rolling": ["roll_180d_std"],
    "signals": [],
    "teacher_only": ["hidden_0", "hidden_1"],
}
FAST = {"rounds": 60, "probe_rounds": 20, "patience": 15, "learning_rate": 0.1, "path_smooth": 20}
FAST |= {"feature_fraction": 0.8}
"""Few columns and few rows: each column is needed in each tree."""


@dataclass
class Bank:
    """What to fabricate. ``skill`` is the teacher's slope on its own score (0: noise), by task."""

    customers: int = 6000
    signals: int = 24
    tasks: tuple[str, ...] = ("churn_signal", "nba_primary", "cross_sell_count")
    skill: dict[str, float] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=lambda: {"nba_primary": 7, "segment_prediction": 3, "next_mcc": 50})
    rates: dict[str, float] = field(default_factory=dict)
    unavailable: tuple[str, ...] = ()
    edit: Any = None
    """Called with the soft label frame before it is written."""


def shipped(tmp_path: Path, **policy: Any) -> Settings:
    """Shipped settings without a source's overrides, in a place of their own; ``policy`` replaces fields."""
    place = Place(root=f"file://{tmp_path}/store", keys=tmp_path / "keys", threads=1)
    base = settings.load("synthetic", place)
    shipped = Distillation.model_validate(yaml.safe_load((settings.CONFIG / "distillation.yaml").read_text()))
    return base.model_copy(update={"distillation": shipped.model_copy(update=policy)})


def small(tmp_path: Path, **policy: Any) -> Settings:
    """Shipped settings with few rounds and lowered evidence floors: for a bank of a few thousand."""
    base = shipped(tmp_path).distillation
    lowered = {
        "lgbm": base.lgbm.model_copy(update=FAST),
        "evidence": base.evidence.model_copy(update={"min_rows": 100, "min_class_rows": 10, "bootstraps": 40}),
        **policy,
    }
    return shipped(tmp_path, **lowered)


def fabricate(ctx: RunContext, bank: Bank) -> RunContext:
    """Produce the three stages before distillation."""
    rng = np.random.default_rng(7)
    keys, features = _features(rng, bank)
    score = {task: _scores(task, features, bank) for task in bank.tasks}
    kinds = {task: ctx.settings.tasks.tasks[task].kind for task in bank.tasks}
    labels, soft = _labels_and_soft(rng, bank, score, kinds)
    teacher = pl.DataFrame({**keys, **soft})
    if bank.edit is not None:
        teacher = bank.edit(teacher)
    serve = pl.Series(keys["part"]) == "serve"
    facts = {t: _fact(ctx, t, bank, labels) for t in ctx.settings.tasks.names()}

    def write_features(out: Out) -> None:
        table = pl.DataFrame({**keys, "split": keys["part"], **features})
        table = table.select("customer_key", "cutoff_date", "split", "part", *features)
        table.write_parquet(out.path("feature_matrix.parquet", table.height))
        out.path("schema.json").write_text(json.dumps(_schema(features, bank)))

    def write_labels(out: Out) -> None:
        table = pl.DataFrame({k: keys[k] for k in ("customer_key", "cutoff_date")} | labels).filter(~serve)
        table.reverse().write_parquet(out.path("label_table.parquet", table.height))
        out.facts["tasks"] = facts

    def write_teacher(out: Out) -> None:
        table = teacher.drop("part").cast({name: pl.Float32 for name in teacher.columns if name[2:3] == "_"})
        table.write_parquet(out.path("soft_labels.parquet", table.height))

    source = {"source:bank": str(bank.customers)}
    produced = ctx.produce("features", write_features, sources=source)
    labelled = ctx.produce("labels", write_labels, sources=source)
    ctx.produce("teacher", write_teacher, [produced, labelled])
    return ctx


def _features(rng: np.random.Generator, bank: Bank) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    n = bank.customers
    shares = {"fit": 0.61, "stop": 0.075, "calib": 0.075, "fidelity": 0.15, "gate": 0.04, "serve": 0.05}
    part = rng.choice(list(shares), size=n, p=[s / sum(shares.values()) for s in shares.values()])
    keys = {"customer_key": np.arange(n, dtype=np.int32), "cutoff_date": [DAY] * n, "part": part}
    features = {
        "age": rng.integers(18, 90, n).astype(np.float32),
        "sex_f": rng.choice([0.0, 1.0], n).astype(np.float32),
        "tenure_months": rng.integers(0, 120, n).astype(np.float32),
    }
    for group, names in GROUPS.items():
        if group not in ("demographics", *bank.unavailable):
            features |= {name: rng.normal(size=n).astype(np.float32) for name in names}
    for i in range(bank.signals):
        values = rng.normal(size=n).astype(np.float32)
        values[rng.random(n) < 0.1] = np.nan
        features[f"sig_{i:03d}"] = values
    return keys, features


def _scores(task: str, features: dict[str, np.ndarray], bank: Bank) -> np.ndarray:
    """(n, outputs) smooth known functions of a few signals, different for each task."""
    rng = np.random.default_rng(sum(map(ord, task)))
    x = np.nan_to_num(np.column_stack([features[f"sig_{i:03d}"] for i in range(8)]))
    outputs = bank.classes.get(task, 1)
    return x @ rng.normal(size=(8, outputs)) * 0.5 + np.tanh(x[:, :1] * x[:, 1:2])


def _labels_and_soft(
    rng: np.random.Generator, bank: Bank, score: dict[str, np.ndarray], kinds: dict[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    labels: dict[str, Any] = {}
    soft: dict[str, Any] = {}
    for task, z in score.items():
        skill = bank.skill.get(task, 1.0)
        noise = rng.normal(size=z.shape) * (1 - min(skill, 1.0))
        if kinds[task] == "binary":
            rate = bank.rates.get(task, 0.2)
            offset = np.log(rate / (1 - rate)) - 0.4
            labels[task] = (rng.random(len(z)) < expit(z[:, 0] + offset)).astype(np.int16)
            logit = (skill * z + noise)[:, 0] + offset
            soft |= {f"lt_{task}": logit, f"ct_{task}": logit, f"pt_{task}": expit(logit)}
        elif kinds[task] == "multiclass":
            p = softmax(z, axis=1)
            labels[task] = (
                (p.cumsum(axis=1) < rng.random((len(z), 1))).sum(axis=1).clip(0, p.shape[1] - 1).astype(np.int16)
            )
            logit = skill * z + noise
            for k in range(z.shape[1]):
                soft |= {f"lt_{task}_{k}": logit[:, k], f"ct_{task}_{k}": logit[:, k]}
                soft[f"pt_{task}_{k}"] = softmax(logit, axis=1)[:, k]
        else:
            labels[task] = z[:, 0] + rng.normal(size=len(z))
            soft[f"mt_{task}"] = (skill * z + noise)[:, 0]
    return labels, soft


def _fact(ctx: RunContext, task: str, bank: Bank, labels: dict[str, Any]) -> dict[str, Any]:
    spec = ctx.settings.tasks.tasks[task]
    if task not in labels:
        return {"status": "disabled", "reason": "not fabricated", "kind": spec.kind, "classes": []}
    names = [f"class {k}" for k in range(bank.classes[task])] if spec.kind == "multiclass" else []
    return {"status": "active", "reason": None, "kind": spec.kind, "classes": names}


def _schema(features: dict[str, np.ndarray], bank: Bank) -> dict[str, Any]:
    names = list(features)
    of = {name: group for group, members in GROUPS.items() for name in members}
    groups = []
    for group in GROUPS:
        mine = [n for n in names if of.get(n, "signals") == group]
        start = names.index(mine[0]) if mine else 0
        groups.append(
            {"name": group, "axis": "State", "start": start, "end": start + len(mine), "experts": [],
             "available": group not in bank.unavailable, "distil": group != "teacher_only",
             "why": "not in this source" if group in bank.unavailable else None}
        )  # fmt: skip
    columns = [{"name": n, "group": of.get(n, "signals"), "kind": "num"} for n in names]
    return {"schema_hash": "0" * 64, "columns": columns, "groups": groups, "dropped": []}


@pytest.fixture(scope="session")
def conftest() -> Any:
    """This module, for tests that fabricate a bank of their own."""
    return sys.modules[__name__]


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    """A bank of 6,000 with one task of each kind, all distillable."""
    folder = tmp_path_factory.mktemp("chain")
    return fabricate(RunContext.open(small(folder), DAY), Bank())
