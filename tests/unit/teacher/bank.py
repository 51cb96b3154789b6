"""A small bank for the teacher: fabricated features and labels artefacts with a signal in every modality."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import torch

from pipeline_lib.runs import Out, RunContext
from pipeline_lib.teacher.contract import Inputs, TaskSpec
from pipeline_lib.teacher.frame import Frame
from pipeline_lib.teacher.model import Teacher
from pipeline_lib.teacher.setup import Data, new_model, read_data

MONDAY = date(2026, 3, 30)
WIDE = ["deepfm", "causal", "optimal_transport"]
# name -> width, block, experts; in column order
GROUPS: dict[str, tuple[int, str, list[str]]] = {
    "profile": (4, "x_norm", WIDE),
    "holdings": (5, "x_norm", WIDE),
    "behaviour": (6, "x_norm", [*WIDE, "temporal"]),
    "tda_long": (4, "x_norm", ["perslay"]),
    "gmm_clustering": (4, "x_norm", WIDE),  # three probabilities and an entropy
    "phase_transition": (2, "x_norm", ["perslay"]),
    "graph_collaborative": (3, "collab_emb", ["lightgcn"]),
    "hyperbolic_embedding": (5, "hyper_emb", ["hgcn"]),
    "hmm_journey": (3, "hmm", ["temporal"]),
    "hmm_lifecycle": (3, "hmm", ["temporal"]),
    "hmm_behavior": (3, "hmm", ["temporal"]),
    "log_copies": (2, "x_raw", []),
    "availability": (5, "mask", []),
}
MASKS = ["valid_hmm_journey", "valid_hmm_lifecycle", "avail_lightgcn", "avail_hgcn", "avail_perslay"]
CHANNELS, MAX_LEN, ITEMS = 3, 20, 7
MAX_BARS = {"short": 5, "long": 7}
PARTS = ["fit"] * 6 + ["stop", "calib", "fidelity", "gate"]
SPLIT = {"fit": "train", "stop": "val", "calib": "val", "fidelity": "test", "gate": "test", "serve": "serve"}
TASKS: dict[str, dict[str, Any]] = {
    "churn_signal": {"kind": "binary", "classes": []},
    "product_stability": {"kind": "regression", "classes": []},
    "nba_primary": {"kind": "multiclass", "classes": ["none", "a", "b", "c"]},
    "top_mcc_shift": {"kind": "binary", "classes": []},
}
# Small enough for seconds, large enough to learn.
SMALL = {
    "teacher": {
        "architecture": {
            "deepfm": {"field_dim": 4, "hidden": [16, 8], "out_dim": 8},
            "lightgcn": {"item_dim": 8, "hidden": 8, "out_dim": 8},
            "hgcn": {"refine": 8, "out_dim": 12, "node_dim": 3},
            "perslay": {"point_dim": 6, "hidden": 8, "out_dim": 8},
            "temporal": {
                "max_steps": 16,
                "scan": {"width": 8, "states": 4, "chunk": 4},
                "cell": {"width": 8, "hidden": 8},
                "patch": {"width": 8, "heads": 2, "length": 4, "hidden": 8},
                "out_dim": 12,
            },
            "causal": {"latent": 6, "hidden": 8, "out_dim": 8},
            "optimal_transport": {"support": 6, "support_dim": 3, "prototypes": 4, "hidden": 8, "out_dim": 8},
            "private": {"hidden": 8, "block_dim": 8, "core_groups": []},
            "hmm": {"dim": 4},
            "clusters": {"dim": 4},
            "basket": {"hidden": [8], "out_dim": 8},
            "transfer": {
                "edges": [
                    {"source": "churn_signal", "target": "product_stability", "mode": "output_concat", "detach": True},
                    {"source": "top_mcc_shift", "target": "nba_primary", "mode": "hidden_concat", "detach": False},
                    {"source": "nba_primary", "target": "product_stability", "mode": "residual", "detach": True},
                ]
            },
            "tower": {"hidden": [8]},
        },
        "training": {
            "epochs": 2,
            "min_steps": 1,
            "patience_share": 1.0,
            "batch_rows": 64,
            "base_rate": 5e-3,
            "phase2": {"epochs": 1},
        },
        "calibration": {"min_rows": 20},
    }
}


@dataclass(frozen=True)
class World:
    ctx: RunContext
    data: Data
    model: Teacher

    @property
    def frame(self) -> Frame:
        return self.data.frame

    @property
    def inputs(self) -> Inputs:
        return self.data.inputs

    @property
    def tasks(self) -> Sequence[TaskSpec]:
        return self.data.tasks


def world_of(ctx: RunContext) -> World:
    data = data_of(ctx)
    torch.manual_seed(1)
    return World(ctx, data, new_model(data, ctx.settings.teacher))


def data_of(ctx: RunContext) -> Data:
    return read_data(ctx.read("features"), ctx.read("labels"), ctx.settings)


def fabricate(ctx: RunContext, rows: int) -> None:
    """Publish features, labels and check_features of ``rows`` labelled customers and a tenth more to serve."""
    rng = np.random.default_rng(7)
    n = rows + rows // 10
    part = [PARTS[i % len(PARTS)] for i in range(rows)] + ["serve"] * (n - rows)
    keys = pl.DataFrame(
        {
            "customer_key": np.arange(n, dtype=np.int32),
            "cutoff_date": [MONDAY - timedelta(days=90 if p == "fit" else 30) for p in part],
            "split": [SPLIT[p] for p in part],
            "part": part,
        }
    )
    columns = column_names()
    x = rng.normal(size=(n, len(columns))).astype(np.float32)
    place = {name: i for i, name in enumerate(columns)}
    probabilities = rng.dirichlet(np.ones(3), n).astype(np.float32)
    x[:, [place[f"gmm_prob_{k}"] for k in range(3)]] = probabilities
    x[:, [place[name] for name in MASKS]] = (rng.random((n, len(MASKS))) < 0.8).astype(np.float32)
    edges = (rng.random((n, ITEMS)) < 0.3).astype(np.float32)
    length = rng.integers(0, MAX_LEN + 1, n)
    length[::17] = 0
    steps = [rng.normal(size=k * CHANNELS).astype(np.float32) for k in length]
    days = [rng.exponential(2.0, k).astype(np.float32) for k in length]
    gap = rng.exponential(5.0, n).astype(np.float32)
    recent = np.array([s[-CHANNELS] if len(s) else 0.0 for s in steps])
    bars = {window: _bars(rng, n, most) for window, most in MAX_BARS.items()}
    noise = rng.normal(size=(4, n)) * 0.3
    label = {
        "churn_signal": (x[:, 0] + recent + noise[0] > 0.8).astype(np.int16),
        "product_stability": 0.9 + 0.05 * (x[:, 5] + x[:, 1] * x[:, 6] + noise[1]),
        "nba_primary": (edges[:, :4] * [0, 1.0, 1.5, 2.0] + noise[2][:, None]).argmax(1).astype(np.int16),
        "top_mcc_shift": (edges[:, 5] + x[:, 9] + noise[3] > 0.4).astype(np.int16),
    }
    masked = rng.random((4, n)) < 0.1
    ctx.produce("features", lambda out: _features(out, keys, x, edges, steps, days, length, gap, bars))
    ctx.produce("labels", lambda out: _labels(out, keys, label, masked))
    ctx.produce("check_features", lambda out: out.path("leakage_report.json").write_text("[]"))


def column_names() -> list[str]:
    names: list[str] = []
    for group, (width, _, _) in GROUPS.items():
        if group == "availability":
            names += MASKS
        elif group == "gmm_clustering":
            names += ["gmm_prob_0", "gmm_prob_1", "gmm_prob_2", "gmm_entropy"]
        else:
            names += [f"{group}_{i}" for i in range(width)]
    return names


def _bars(rng: np.random.Generator, n: int, most: int) -> list[list[float]]:
    """Up to ``most`` triples (birth, death, dimension) per row; every seventh row has none."""
    found = []
    for i in range(n):
        count = 0 if i % 7 == 0 else int(rng.integers(1, most + 1))
        dimension = rng.integers(0, 2, count)
        birth = rng.random(count) * dimension  # those of dimension 0 are born at 0
        bars = np.stack([birth, birth + rng.random(count), dimension], axis=1)
        found.append(bars.astype(np.float32).flatten().tolist())
    return found


def _features(
    out: Out, keys: pl.DataFrame, x: Any, edges: Any, steps: Any, days: Any, length: Any, gap: Any, bars: Any
) -> None:
    n, columns = keys.height, column_names()
    table = keys.with_columns(pl.Series(c, x[:, i].copy()) for i, c in enumerate(columns))
    table.write_parquet(out.path("feature_matrix.parquet", rows=n))
    table.drop("split", "part").write_parquet(out.path("x_norm.parquet", rows=n))
    short = keys.select("customer_key", "cutoff_date")
    items = [f"item_{i}" for i in range(ITEMS)]
    short.with_columns(pl.Series(c, edges[:, i].copy()) for i, c in enumerate(items)).write_parquet(
        out.path("edges.parquet", rows=n)
    )
    short.with_columns(
        pl.Series("txn_seq", [s.tolist() for s in steps], dtype=pl.List(pl.Float32)),
        pl.Series("txn_dt", [d.tolist() for d in days], dtype=pl.List(pl.Float32)),
        pl.Series("txn_len", length, dtype=pl.Int32),
        pl.Series("asof_gap", gap),
    ).write_parquet(out.path("sequences.parquet", rows=n))
    short.with_columns(
        pl.Series(f"tda_{window}", found, dtype=pl.List(pl.Float32)) for window, found in bars.items()
    ).write_parquet(out.path("diagrams.parquet", rows=n))
    out.path("schema.json").write_text(json.dumps(_schema(columns, items)))


def _schema(columns: list[str], items: list[str]) -> dict[str, Any]:
    groups, at = [], 0
    for name, (width, block, experts) in GROUPS.items():
        groups.append(
            {"name": name, "axis": "State", "block": block, "start": at, "end": at + width, "experts": experts}
        )
        at += width
    home = [g["name"] for g in groups for _ in range(g["start"], g["end"])]
    return {
        "schema_hash": "a" * 64,
        "columns": [{"name": c, "group": group, "kind": "num"} for c, group in zip(columns, home, strict=True)],
        "groups": groups,
        "blocks": [
            {"name": "hyper_emb", "start": g["start"], "end": g["end"], "width": 5, "hyper_space": "tangent"}
            for g in groups
            if g["block"] == "hyper_emb"
        ],
        "sequence": {"channels": [f"c{i}" for i in range(CHANNELS)], "max_len": MAX_LEN},
        "items": [
            {"name": name, "kind": "product"} if i < 3 else {"name": name, "kind": "category", "l1": i % 2, "l2": i}
            for i, name in enumerate(items)
        ],
        "diagrams": {window: {"max_bars": most, "dimensions": [0, 1]} for window, most in MAX_BARS.items()},
    }


def _labels(out: Out, keys: pl.DataFrame, label: dict[str, Any], masked: Any) -> None:
    known = keys.filter(pl.col("part") != "serve")
    n = known.height
    table = known.select("customer_key", "cutoff_date").with_columns(label_status=pl.lit("mature"))
    for i, (name, values) in enumerate(label.items()):
        table = table.with_columns(pl.Series(name, values[:n].copy()).set(pl.Series(masked[i, :n]), None))
    table.write_parquet(out.path("label_table.parquet", rows=n))
    out.facts["tasks"] = {name: {"status": "active", "reason": "", **task} for name, task in TASKS.items()}


def merged(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    return {**base, **{k: merged(base[k], v) if isinstance(v, dict) and k in base else v for k, v in top.items()}}
