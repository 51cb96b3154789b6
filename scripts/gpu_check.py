"""What the teacher does on a CUDA card: throughput, peak memory, and whether bf16 learns what fp32 learns.

    make gpu-check                  exits 3 and says so where there is no CUDA device
    python scripts/gpu_check.py --device cpu --rows 512 --steps 4    the same code without a card

The bank is fabricated at the widths of the full bank (teacher.md section 3): 941 columns, 180 steps of 16 channels,
200 + 150 bars, 13 tasks; the network is that of `config/teacher.yaml`. fp32 is TF32 outside the float32 islands. Prints
Markdown to commit. Limits: peak memory below 11 GB; bf16 within 1 % of fp32 after 50 steps. Source: teacher.md
sections 1 and 15.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import polars as pl
import torch

from pipeline_lib.settings import Place, Settings, load
from pipeline_lib.teacher.contract import Inputs, TaskSpec
from pipeline_lib.teacher.frame import FIT, Frame, Ragged
from pipeline_lib.teacher.guard import Guard
from pipeline_lib.teacher.optim import build_optimiser
from pipeline_lib.teacher.precision import Precision
from pipeline_lib.teacher.setup import Data, new_model, plan_of, rates_of, trainee_of
from pipeline_lib.teacher.step import Stepper, Trainee

GROUPS: Mapping[str, tuple[int, str, list[str]]] = {
    "state": (568, "x_norm", ["deepfm", "causal", "optimal_transport"]),
    "tda_long": (36, "x_norm", ["perslay"]),
    "tda_short": (24, "x_norm", ["perslay"]),
    "phase_transition": (10, "x_norm", ["perslay"]),
    "gmm_clustering": (20, "x_norm", ["deepfm", "causal", "optimal_transport"]),
    "graph_collaborative": (64, "collab_emb", ["lightgcn"]),
    "product_hierarchy": (34, "collab_emb", ["lightgcn"]),
    "hyperbolic_embedding": (47, "hyper_emb", ["hgcn"]),
    "hmm_journey": (16, "hmm", ["temporal"]),
    "hmm_lifecycle": (16, "hmm", ["temporal"]),
    "hmm_behavior": (16, "hmm", ["temporal"]),
    "log_copies": (90, "x_raw", []),
}
STEPS, CHANNELS, CATEGORIES, PRODUCTS = 180, 16, 109, 24
BARS = {"short": (200, [0, 1]), "long": (150, [0, 1, 2])}
MOST_GIB, MOST_APART = 11.0, 0.01
NO_DEVICE = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--batches", type=int, nargs="+", default=[2048, 4096])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rows", type=int, default=16384)
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device is here: nothing was checked (torch", torch.__version__ + ")")
        return NO_DEVICE
    device = torch.device(asked.device)
    settings = load("synthetic", Place(dataset="synthetic"))
    data = fabricate(settings, asked.rows)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, {asked.steps} steps, experts {', '.join(data.experts)}\n")
    print("| batch | precision | samples/s | peak memory GiB | loss first | loss last |\n|---|---|---|---|---|---|")
    wrong = [line for rows in asked.batches for line in compare(settings, data, device, rows, asked.steps)]
    print("\n" + ("\n".join(wrong) or "all limits hold"))
    return 1 if wrong else 0


def compare(settings: Settings, data: Data, device: torch.device, batch_rows: int, steps: int) -> list[str]:
    """Train the same batches in both precisions; returns what breaks a limit."""
    names = ["fp32", "bf16"] if device.type == "cpu" or torch.cuda.is_bf16_supported() else ["fp32", "fp16"]
    found = {name: measure(settings, data, device, batch_rows, steps, name) for name in names}
    wrong = []
    for name, (speed, memory, losses) in found.items():
        print(f"| {batch_rows} | {name} | {speed:,.0f} | {memory:.2f} | {losses[0]:.4f} | {losses[-1]:.4f} |")
        if memory > MOST_GIB:
            wrong.append(f"batch {batch_rows} {name}: peak memory {memory:.2f} GiB, limit {MOST_GIB}")
    (_, _, full), (_, _, short) = found.values()
    scale = max(abs(full[0] - full[-1]), abs(full[-1]))
    if (apart := abs(full[-1] - short[-1]) / scale) > MOST_APART:
        wrong.append(f"batch {batch_rows}: {names[1]} ends {apart:.2%} from fp32, limit {MOST_APART:.0%}")
    return wrong


def measure(
    settings: Settings, data: Data, device: torch.device, batch_rows: int, steps: int, precision: str
) -> tuple[float, float, list[float]]:
    """Samples per second, peak memory [GiB], loss per step."""
    torch.manual_seed(settings.teacher.seed)
    policy = settings.teacher
    trainee = trainee_of(new_model(data, policy), data, policy, device)
    trainee.precision = Precision(precision, device)
    plan = replace(plan_of(policy), batch_rows=batch_rows, micro_rows=batch_rows)
    optimiser = build_optimiser(trainee.model, trainee.weighting, rates_of(policy))
    rows = data.frame.part(FIT)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    trainee.model.train()
    losses, started = [], time.perf_counter()
    for step in range(steps + 1):
        if step == 1:  # the first step compiles kernels and allocates
            _wait(device)
            started = time.perf_counter()
        at = torch.arange(step * batch_rows, (step + 1) * batch_rows) % len(rows)
        losses.append(_one(trainee, plan, optimiser, rows[at], step))
    _wait(device)
    spent = time.perf_counter() - started
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else float("nan")
    return steps * batch_rows / spent, memory, losses


def _one(trainee: Trainee, plan: Any, optimiser: torch.optim.Optimizer, rows: torch.Tensor, step: int) -> float:
    stepper = Stepper(trainee, plan, Guard(plan.max_bad_steps, plan.max_bad_share), optimiser, None)
    optimiser.zero_grad(set_to_none=True)
    stepper.accumulate(rows, plan.micro_rows, step)
    trainee.precision.step(optimiser, trainee.model, plan.clip)
    trainee.weighting.end_step()
    return stepper.means()["total"]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def fabricate(settings: Settings, rows: int) -> Data:
    """Noise of the shapes of the full bank, with labels for all tasks; every row is a train row."""
    rng, policy = np.random.default_rng(1), settings.teacher
    inputs = Inputs.from_schema(schema(), [], STEPS)
    keys = pl.DataFrame(
        {
            "customer_key": np.arange(rows, dtype=np.int32),
            "cutoff_date": [date(2026, 1, 5)] * rows,
            "split": ["train"] * rows,
            "part": [FIT] * rows,
        }
    )
    tasks = [
        TaskSpec(
            name,
            t.kind,
            t.group,
            t.classes or 1,
            t.weight,
            t.focal_alpha,
            tuple(str(i) for i in range(t.classes or 0)),
            (1.0,) * (t.classes or 0),
        )
        for name, t in settings.tasks.tasks.items()
    ]
    length = np.full(rows, STEPS)
    bars = {}
    for window, (most, dimensions) in BARS.items():
        points = rng.random((rows * most, 3), np.float32).cumsum(1)
        points[:, 2] = rng.choice(dimensions, len(points))
        bars[window] = (Ragged.of(points, np.full(rows, most)), most)
    frame = Frame(
        keys=keys,
        x=torch.from_numpy(rng.standard_normal((rows, inputs.columns), np.float32)),
        edges=torch.from_numpy((rng.random((rows, len(inputs.items))) < 0.1).astype(np.float32)),
        steps=Ragged.of(rng.random((rows * STEPS, CHANNELS + 1), np.float32), length),
        gap=torch.from_numpy(rng.exponential(3.0, rows).astype(np.float32)),
        bars=bars,
        labels={t.name: torch.from_numpy(_label(rng, t, rows)) for t in tasks},
        max_steps=STEPS,
    )
    return Data(inputs, [c["name"] for c in schema()["columns"]], frame, tasks, list(policy.experts), {})


def schema() -> dict[str, Any]:
    """A feature schema of the full bank's widths."""
    groups, columns = [], []
    for name, (width, block, experts) in GROUPS.items():
        start = len(columns)
        prefix = "gmm_prob" if name == "gmm_clustering" else name
        columns += [{"name": f"{prefix}_{i:03d}"} for i in range(width)]
        groups.append({"name": name, "block": block, "start": start, "end": start + width, "experts": experts})
    hyperbolic = next(g for g in groups if g["block"] == "hyper_emb")
    categories = [{"name": f"c{i}", "kind": "category", "l1": i % 10, "l2": i % 30} for i in range(CATEGORIES)]
    return {
        "schema_hash": "gpu-check",
        "columns": columns,
        "groups": groups,
        "blocks": [{**hyperbolic, "name": "hyper_emb", "hyper_space": "tangent"}],
        "sequence": {"channels": [f"c{i}" for i in range(CHANNELS)], "max_len": STEPS},
        "items": [*({"name": f"p{i}", "kind": "product"} for i in range(PRODUCTS)), *categories],
        "diagrams": {w: {"max_bars": most, "dimensions": dims} for w, (most, dims) in BARS.items()},
    }


def _label(rng: np.random.Generator, task: TaskSpec, rows: int) -> np.ndarray:
    if task.kind == "binary":
        return (rng.random(rows) < 0.1).astype(np.float64)
    if task.kind == "multiclass":
        return rng.integers(0, task.out, rows).astype(np.float64)
    return rng.standard_normal(rows)


if __name__ == "__main__":
    sys.exit(main())
