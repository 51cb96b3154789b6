"""Similar cases on a million explanation vectors: recall@10 of the index against brute force, p50 and p99.

    python -m benchmarks.audit_similar [--rows 1000000] [--queries 1000] [--nprobes 20] [--refine 10]

Synthetic answers: 13 tasks with gates around a centre of their own, 5 to 10 features of 572 drawn by Zipf's law with
the task's own signs, distances around the limit. Real LanceDB in a temporary folder, metric cosine stated.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline_lib import settings
from pipeline_lib.audit.segment import timestamp
from pipeline_lib.audit.similar import feed
from pipeline_lib.audit.similar.vector import BUCKETS, EXPERTS, OOD_WEIGHT, place
from pipeline_lib.store import Near, QueryStore

TASKS, FEATURES, K = 13, 572, 10
TABLE = f"{feed.TABLE}__2026q4"
FIRST_US, STEP_US = 1_790_812_800_000_000, 7_000_000
"""2026-10-01 in UTC, and 81 days for a million answers [microseconds]."""


def vectors(rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    task = rng.integers(0, TASKS, rows)
    centres = rng.dirichlet(np.full(len(EXPERTS), 1.5), TASKS)
    gates = np.stack([rng.gamma(40 * centres[task][:, e] + 0.1) for e in range(len(EXPERTS))], 1)
    places = np.array([place(f"feature_{name}") for name in range(FEATURES)])
    effect = rng.normal(size=(TASKS, FEATURES))
    reasons = np.zeros((rows, BUCKETS))
    for rank in range(10):
        chosen = np.minimum(rng.zipf(1.3, rows) - 1, FEATURES - 1)
        chosen = (chosen + task * 37) % FEATURES
        value = effect[task, chosen] * rng.lognormal(0, 0.4, rows) / (1 + rank)
        value[(rank >= 5) & (rng.random(rows) < 0.5)] = 0
        np.add.at(reasons, (np.arange(rows), places[chosen, 0]), value * places[chosen, 1])
    ood = OOD_WEIGHT * np.minimum(rng.lognormal(-0.3, 0.3, rows), 4) / 4
    parts = [gates / np.linalg.norm(gates, axis=1, keepdims=True)]
    parts.append(reasons / np.maximum(np.linalg.norm(reasons, axis=1, keepdims=True), 1e-12))
    return np.concatenate([*parts, ood[:, None]], 1).astype(np.float32), task


def table(vecs: np.ndarray, task: np.ndarray, start: int) -> pa.Table:
    """A quarter's rows, a second apart, ten products, one in twenty far out."""
    rows = range(start, start + len(vecs))
    known = {
        "prediction_id": [f"{row:032x}" for row in rows], "task": [f"task_{one}" for one in task],
        "ts": [timestamp(FIRST_US + row * STEP_US) for row in rows], "ckpt_n": [row // 10_000 + 1 for row in rows],
        "product_category": [f"product_{row % 10}" for row in rows], "ood_flagged": [row % 20 == 0 for row in rows],
        "has_gates": [True] * len(vecs),
    }  # fmt: skip
    flat = pa.array(vecs.reshape(-1), pa.float32())
    known[feed.COLUMN] = pa.FixedSizeListArray.from_arrays(flat, vecs.shape[1])
    absent = pa.nulls(len(vecs), pa.string())
    return pa.table([known.get(name, absent) for name in feed.SCHEMA.names], schema=feed.SCHEMA)


def conditions(task: np.ndarray, query: int) -> dict[str, tuple[str, np.ndarray]]:
    """Name -> what the search is narrowed by, and which rows that leaves."""
    rows = np.arange(len(task))
    past = f"ts < '{timestamp(FIRST_US + int(query) * STEP_US)}' AND has_gates = true"
    same = f"task = 'task_{task[query]}' AND product_category = 'product_{query % 10}'"
    return {
        "nothing": ("has_gates = true", rows >= 0),
        "before, same task": (f"{past} AND task = 'task_{task[query]}'", (rows < query) & (task == task[query])),
        "as shipped": (
            f"{past} AND {same} AND ood_flagged = {str(query % 20 == 0).lower()}",
            (rows < query) & (task == task[query]) & (rows % 10 == query % 10)
            & ((rows % 20 == 0) == (query % 20 == 0)),
        ),
    }  # fmt: skip


def truth(vecs: np.ndarray, query: int, left: np.ndarray) -> set[str]:
    unit = vecs[query] / np.linalg.norm(vecs[query])
    score = np.where(left, vecs @ unit / np.linalg.norm(vecs, axis=1), -2)
    return {f"{row:032x}" for row in np.argpartition(-score, K)[:K] if score[row] > -2}


def measured(store: QueryStore, vecs: np.ndarray, task: np.ndarray, queries: np.ndarray, name: str, asked: Any) -> None:
    hits = possible = 0
    wall: list[float] = []
    cpu: list[float] = []
    for query in queries:
        where, left = conditions(task, query)[name] if len(wall) < asked.judged else (
            conditions(task[: query + 1], query)[name][0], None)  # fmt: skip
        near = Near(feed.COLUMN, vecs[query].tolist(), K, asked.nprobes, asked.refine)
        start, spent = time.perf_counter(), time.process_time()
        found = store.nearest(TABLE, near, where, ["prediction_id"])
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - spent)
        if left is not None:
            best = truth(vecs, query, left)
            hits, possible = hits + len(best & set(found["prediction_id"].to_pylist())), possible + len(best)
    p50, p99 = np.percentile(np.array(wall) * 1000, [50, 99])
    own = np.percentile(np.array(cpu) * 1000, 99)
    print(f"{name:<18} recall@10 {hits / possible:.4f} ({asked.judged} queries)  p50 {p50:.1f} ms  p99 {p99:.1f} ms  "
          f"p99 of CPU {own:.1f} ms  ({len(wall)} queries, load {os.getloadavg()[0]:.1f})", flush=True)  # fmt: skip


def main() -> None:
    policy = settings.load("synthetic", settings.Place()).audit.similar
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--judged", type=int, default=200, help="queries compared with brute force")
    parser.add_argument("--nprobes", type=int, default=policy.nprobes)
    parser.add_argument("--refine", type=int, default=policy.refine)
    asked = parser.parse_args()
    rng = np.random.default_rng(7)
    vecs, task = vectors(asked.rows, rng)
    queries = rng.integers(asked.rows // 10, asked.rows, asked.queries)
    with tempfile.TemporaryDirectory() as folder:
        store, start = QueryStore(folder), time.perf_counter()
        for at in range(0, asked.rows, 200_000):
            store.append(TABLE, table(vecs[at : at + 200_000], task[at : at + 200_000], at))
        print(f"{asked.rows:,} vectors written in {time.perf_counter() - start:.1f} s", flush=True)
        start = time.perf_counter()
        feed.index(store, TABLE, asked.rows)
        print(f"indexes made in {time.perf_counter() - start:.1f} s", flush=True)
        for name in conditions(task[:11], 10):
            for query in queries[:20]:  # warm, not counted
                near = Near(feed.COLUMN, vecs[query].tolist(), K, asked.nprobes, asked.refine)
                store.nearest(TABLE, near, conditions(task[: query + 1], query)[name][0], ["prediction_id"])
            measured(store, vecs, task, queries, name, asked)


if __name__ == "__main__":
    main()
