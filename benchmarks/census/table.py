"""Results as JSON and Markdown: one table of rows, one of paired differences, and the conditions they hold under."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.census import bootstrap, results
from benchmarks.census.data import TASKS, Census
from benchmarks.census.rows import Row
from benchmarks.census.speed import Speed

RESAMPLES = 1000
HEAD = ("model", *(f"{t} test AUC" for t in TASKS), "samples / CPU-s, one loop", "library's own loop",
        "parameters", "epochs (best)", "CPU-s to stop", "share of sgemm")  # fmt: skip
Rows = Mapping[str, Row]


def conditions() -> dict[str, Any]:
    """What the figures hold under, as seen now."""
    model = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if "model name" in line), "unknown")
    return {"time": datetime.now(UTC).isoformat(timespec="seconds"), "cpu": model, "cores": os.cpu_count(),
            "load": [round(x, 2) for x in os.getloadavg()], "python": platform.python_version(),
            "versions": results.versions()}  # fmt: skip


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []


def write(
    out: Path,
    rows: Rows,
    seeds: Sequence[int],
    digest: str,
    sets: Mapping[int, Census],
    speeds: Mapping[str, Speed],
    start: dict[str, Any],
) -> str:
    """``table.json`` and ``table.md`` in ``out``; returns the Markdown."""
    found = {name: [results.stored(out, name, row, seed, digest) or {} for seed in seeds] for name, row in rows.items()}
    census = next(iter(sets.values()))
    boots = _bootstraps(out, rows, seeds, census)
    body = {
        "conditions": {"start": start, "end": conditions(), "seeds": list(seeds), "resamples": RESAMPLES,
                       "rows": {split: len(part.y) for split, part in census.parts.items()}},
        "results": found,
        "ci": {name: [bootstrap.interval(b) for b in tasks] for name, tasks in boots.items()},
        "differences": _differences(rows, found, boots),
        "speed": {name: vars(speed) for name, speed in speeds.items()},
    }  # fmt: skip
    (out / "table.json").write_text(json.dumps(body, indent=1) + "\n")
    text = "\n".join([*_conditions(body), "", *_main(rows, found, body["ci"], speeds), "", *_paired(body, rows), ""])
    (out / "table.md").write_text(text)
    return text


def _bootstraps(out: Path, rows: Rows, seeds: Sequence[int], census: Census) -> dict[str, list[np.ndarray]]:
    """Row -> task -> mean AUC over seeds under each resample of test rows."""
    y = census.parts["test"].y.double().numpy()
    weights = bootstrap.draws(len(y), RESAMPLES, seed=0)
    found = {}
    for name in rows:
        scores = [np.load(results.path(out, name, seed).with_suffix(".npy")) for seed in seeds]
        found[name] = [
            bootstrap.mean_over_seeds(y[:, k], [p[:, k] for p in scores], weights) for k in range(len(TASKS))
        ]
    return found


def _differences(
    rows: Rows, found: Mapping[str, list[dict[str, Any]]], boots: Mapping[str, list[np.ndarray]]
) -> list[dict[str, Any]]:
    """Ours minus the best PLE peer (by test AUC of the task, which favours the peer) and minus LightGBM."""
    listed = []
    for k, task in enumerate(TASKS):
        mean = {name: float(np.mean([r["auc"][k] for r in results_])) for name, results_ in found.items()}
        ple = [name for name, row in rows.items() if row.group == "peer" and "PLE" in row.label]
        against = [max(ple, key=lambda name: mean[name])] if ple else []
        against += [name for name, row in rows.items() if row.group == "trees"]
        for ours in (name for name, row in rows.items() if row.group in ("ours", "tried")):
            for other in against:
                low, high = bootstrap.interval(boots[ours][k] - boots[other][k])
                listed.append({"task": task, "ours": ours, "other": other, "difference": mean[ours] - mean[other],
                               "low": low, "high": high})  # fmt: skip
    return listed


def _conditions(body: Mapping[str, Any]) -> list[str]:
    c = body["conditions"]
    start, end, n = c["start"], c["end"], c["rows"]
    return [
        f"{start['time']} to {end['time']}; {start['cpu']}, {start['cores']} cores, one thread; load average "
        f"{start['load'][0]} at the start and {end['load'][0]} at the end; Python {start['python']}, "
        + ", ".join(f"{name} {version}" for name, version in start["versions"].items())
        + f". Rows: {n['train']:,} train, {n['val']:,} validation, {n['test']:,} test. Seeds {c['seeds']}, "
        f"{c['resamples']:,} resamples of test rows."
    ]


def _main(
    rows: Rows,
    found: Mapping[str, list[dict[str, Any]]],
    ci: Mapping[str, Sequence[tuple[float, float]]],
    speeds: Mapping[str, Speed],
) -> list[str]:
    lines = ["| " + " | ".join(HEAD) + " |", "|" + " --- |" * len(HEAD)]
    for name, row in rows.items():
        done = found[name]
        cells = [row.label]
        for k in range(len(TASKS)):
            values = [r["auc"][k] for r in done]
            cells.append(f"{statistics.median(values):.4f} ({min(values):.4f}–{max(values):.4f}) "
                         f"[{ci[name][k][0]:.4f}, {ci[name][k][1]:.4f}]")  # fmt: skip
        seen = speeds.get(name, Speed(samples=[r["samples_per_cpu_s"] for r in done]))
        cells += [_thousands(seen.samples), _thousands(seen.own_trainer)]
        cells += [f"{done[0]['parameters']:,}" + (" leaves" if row.group == "trees" else "")]
        cells += [", ".join(f"{r['epochs']} ({r['best_epoch']})" if row.build else "+".join(map(str, r["epochs"]))
                            for r in done)]  # fmt: skip
        cpu = [r["cpu"] for r in done]
        cells += [f"{statistics.median(cpu):.0f} ({min(cpu):.0f}–{max(cpu):.0f})"]
        cells += [f"{100 * statistics.median(seen.share):.0f} %" if seen.share else "–"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _paired(body: Mapping[str, Any], rows: Rows) -> list[str]:
    lines = ["| task | ours | minus | difference of mean AUC [95 % CI] |", "| --- | --- | --- | --- |"]
    for d in body["differences"]:
        lines.append(f"| {d['task']} | {rows[d['ours']].label} | {rows[d['other']].label} | "
                     f"{d['difference']:+.4f} [{d['low']:+.4f}, {d['high']:+.4f}] |")  # fmt: skip
    return lines


def _thousands(values: Sequence[float]) -> str:
    if not values:
        return "–"
    return f"{statistics.median(values) / 1e3:.1f}k ({min(values) / 1e3:.1f}–{max(values) / 1e3:.1f})"
