"""How much faster a student answers than the teacher: ``speed_ratio`` of distillation.md 11.1, on a finished run.

    PIPELINE_DATASET=synthetic python -m benchmarks.speed_ratio --date <Monday>

1,024 rows, both on one CPU thread, CPU seconds, median of 5; inputs lie ready in memory. The teacher answers all tasks
in one pass, so a task's ratio is its student's time over that pass, and the last row is all students over it. The limit
is Tier 2's (``fidelity.max_speed_ratio``). No stage keeps a clock: the bytes of a run repeat.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date

import lightgbm as lgb
import numpy as np
import polars as pl
import torch

from pipeline_lib import settings
from pipeline_lib.runs import RunContext
from pipeline_lib.teacher.checkpoint import load_checkpoint
from pipeline_lib.teacher.setup import read_data

ROWS, REPEATS = 1024, 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--date", type=date.fromisoformat, required=True)
    ctx = RunContext.open(settings.load(), parser.parse_args().date)
    torch.set_num_threads(1)
    teacher, limit = seconds(teacher_pass(ctx)), ctx.settings.distillation.fidelity.max_speed_ratio
    print(f"teacher, all tasks, {ROWS} rows: {teacher * 1e3:.1f} ms of CPU\n\n| task | student [ms] | ratio | limit |")
    print("|---|---|---|---|")
    total = 0.0
    for task in ctx.settings.tasks.names():
        student = student_pass(ctx, task)
        if student is None:
            print(f"| {task} | no model: by rules | | |")
            continue
        took = seconds(student)
        total += took
        print(f"| {task} | {took * 1e3:.2f} | {took / teacher:.4f} | {limit} |")
    print(f"| all students | {total * 1e3:.2f} | {total / teacher:.4f} | |")
    return 0


def teacher_pass(ctx: RunContext) -> Callable[[], object]:
    """One forward pass over the first rows of the frame."""
    features, labels, made = ctx.read("features"), ctx.read("labels"), ctx.read("teacher")
    data = read_data(features, labels, ctx.settings)
    weights, described = made.path("checkpoint/weights.safetensors"), made.path("checkpoint/model.json")
    model = load_checkpoint(weights, described, data.inputs.schema_hash).model
    batch = data.frame.batch(torch.arange(ROWS))
    return lambda: model(batch)


def student_pass(ctx: RunContext, task: str) -> Callable[[], object] | None:
    """The routed student's booster on its own columns; None when rules answer."""
    made = ctx.read(f"student.{task}")
    if "model.txt" not in made.names():
        return None
    columns = json.loads(made.path("student.json").read_text(encoding="utf-8"))["features"]
    table = pl.scan_parquet(ctx.read("features").path("feature_matrix.parquet")).select(columns).head(ROWS).collect()
    booster, x = lgb.Booster(model_file=str(made.path("model.txt"))), table.to_numpy().astype(np.float32)
    return lambda: booster.predict(x, num_threads=1)


@torch.no_grad()
def seconds(answer: Callable[[], object]) -> float:
    """CPU seconds, median of ``REPEATS`` after one pass to warm up."""
    answer()
    taken = []
    for _ in range(REPEATS):
        began = time.process_time()
        answer()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


if __name__ == "__main__":
    sys.exit(main())
