"""A small bank for the teacher: fabricated features and labels artefacts with a signal in every modality."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import torch

from pipeline_lib.runs import Out, RunContext
from pipeline_lib.teacher.contract import Inputs, TaskSpec, active_tasks
from pipeline_lib.teacher.frame import Frame, read_frame, with_statistics
from pipeline_lib.teacher.model import Teacher, build_model, expert_of

MONDAY = date(2026, 3, 30)
GROUPS = {"profile": 4, "holdings": 5, "behaviour": 6}
CHANNELS, MAX_LEN, ITEMS = 3, 20, 7
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
            "basket": {"hidden": [8], "out_dim": 8},
            "tower": {"hidden": [8]},
        },
        "training": {"epochs": 2, "min_steps": 1, "patience_share": 1.0, "batch_rows": 64, "base_rate": 5e-3},
        "calibration": {"min_rows": 20},
    }
}


@dataclass(frozen=True)
class World:
    ctx: RunContext
    frame: Frame
    inputs: Inputs
    tasks: list[TaskSpec]
    model: Teacher


def world_of(ctx: RunContext) -> World:
    policy, frame, inputs = ctx.settings.teacher, read_frame_of(ctx), inputs_of(ctx)
    tasks = tasks_of(ctx, frame)
    torch.manual_seed(1)
    model = build_model(inputs, tasks, policy.experts, policy.architecture, policy.gating)
    for name in model.expert_names:
        expert_of(model.experts, name).fit_structure(frame, frame.part("fit"))
    return World(ctx, frame, inputs, tasks, model)


def read_frame_of(ctx: RunContext) -> Frame:
    features, labels = ctx.read("features"), ctx.read("labels")
    return read_frame(features, labels, inputs_of(ctx), active_tasks(labels.facts["tasks"], ctx.settings.tasks))


def inputs_of(ctx: RunContext) -> Inputs:
    schema = json.loads(ctx.read("features").path("schema.json").read_bytes())
    return Inputs.from_schema(schema, [], ctx.settings.teacher.architecture.temporal.max_steps)


def tasks_of(ctx: RunContext, frame: Frame) -> list[TaskSpec]:
    bare = active_tasks(ctx.read("labels").facts["tasks"], ctx.settings.tasks)
    return with_statistics(bare, frame, 0.5, (0.1, 10.0))


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
    columns = [f"{g}_{i}" for g, width in GROUPS.items() for i in range(width)]
    x = rng.normal(size=(n, len(columns))).astype(np.float32)
    edges = (rng.random((n, ITEMS)) < 0.3).astype(np.float32)
    length = rng.integers(0, MAX_LEN + 1, n)
    length[::17] = 0
    steps = [rng.normal(size=k * CHANNELS).astype(np.float32) for k in length]
    days = [rng.exponential(2.0, k).astype(np.float32) for k in length]
    gap = rng.exponential(5.0, n).astype(np.float32)
    recent = np.array([s[-CHANNELS] if len(s) else 0.0 for s in steps])
    noise = rng.normal(size=(4, n)) * 0.3
    label = {
        "churn_signal": (x[:, 0] + recent + noise[0] > 0.8).astype(np.int16),
        "product_stability": 0.9 + 0.05 * (x[:, 5] + x[:, 1] * x[:, 6] + noise[1]),
        "nba_primary": (edges[:, :4] * [0, 1.0, 1.5, 2.0] + noise[2][:, None]).argmax(1).astype(np.int16),
        "top_mcc_shift": (edges[:, 5] + x[:, 9] + noise[3] > 0.4).astype(np.int16),
    }
    masked = rng.random((4, n)) < 0.1
    ctx.produce("features", lambda out: _features(out, keys, columns, x, edges, steps, days, length, gap))
    ctx.produce("labels", lambda out: _labels(out, keys, label, masked))
    ctx.produce("check_features", lambda out: out.path("leakage_report.json").write_text("[]"))


def _features(
    out: Out, keys: pl.DataFrame, columns: Any, x: Any, edges: Any, steps: Any, days: Any, length: Any, gap: Any
) -> None:
    n = keys.height
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
    groups, at = [], 0
    for name, width in GROUPS.items():
        groups.append({"name": name, "axis": "State", "start": at, "end": at + width, "available": True, "experts": []})
        at += width
    schema = {
        "schema_hash": "a" * 64,
        "columns": [{"name": c, "group": c.rsplit("_", 1)[0], "kind": "num"} for c in columns],
        "groups": groups,
        "sequence": {"channels": [f"c{i}" for i in range(CHANNELS)], "max_len": MAX_LEN},
        "items": [{"name": i, "kind": "product"} for i in items],
    }
    out.path("schema.json").write_text(json.dumps(schema))


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
