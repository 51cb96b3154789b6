"""Pictures of a study: what differs and by how much, against what chance alone does. PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline_lib.teacher.ablation.effects import Effect
from pipeline_lib.teacher.ablation.summary import Summary

COLOURS = {
    "better": "#1a7f37",
    "worse": "#cf222e",
    "null": "#57606a",
    "unjudged": "#9a6700",
    "not concluded": "#9a6700",
}


def forest(summary: Summary, metrics: Sequence[str]) -> bytes:
    """One panel per metric: every scenario's difference with its interval, the floor shaded."""
    plt = _pyplot()
    titles = {s.name: s.title for s in summary.family.scenarios}
    shown = [m for m in metrics if any(e.mean == e.mean for e in summary.of(m))]
    rows = [e.scenario for e in summary.of(shown[0])] if shown else []
    height = 1.6 + 0.3 * len(rows)
    figure, axes = plt.subplots(
        1, max(1, len(shown)), figsize=(4 + 3.2 * max(1, len(shown)), height), dpi=110,
        layout="constrained", sharey=True, squeeze=False,
    )  # fmt: skip
    for axis, metric in zip(axes[0], shown, strict=False):
        _lines(axis, summary.of(metric), summary.floors.get(metric), summary.protocol.floor_factor)
        axis.set_title(metric, fontsize=10)
        axis.set_yticks(np.arange(len(rows))[::-1], [titles[name] for name in rows], fontsize=8)
    figure.suptitle(
        f"{summary.family.title}: difference to its reference, {summary.protocol.level:.0%} interval; grey: noise",
        fontsize=10,
    )
    return _png(figure)


def tasks(summary: Summary, scenarios: Sequence[str]) -> bytes:
    """One panel per scenario: its difference to the reference on every task."""
    plt = _pyplot()
    titles = {s.name: s.title for s in summary.family.scenarios}
    names = summary.tasks
    figure, axes = plt.subplots(
        1, max(1, len(scenarios)), figsize=(3.5 + 3 * len(scenarios), 1.3 + 0.3 * len(names)), dpi=110,
        layout="constrained", sharey=True, squeeze=False,
    )  # fmt: skip
    for axis, scenario in zip(axes[0], scenarios, strict=False):
        own = {e.metric: e for e in summary.effects if e.scenario == scenario}
        found = [own[name] for name in names if name in own]
        _lines(axis, found, None, 0.0)
        against = titles[found[0].against] if found else ""
        axis.set_title(f"{titles[scenario]}\nminus {against}", fontsize=9)
        axis.set_yticks(np.arange(len(names))[::-1], [name.removeprefix("task:") for name in names], fontsize=8)
    return _png(figure)


def gates(mean: Mapping[str, Mapping[str, float]], title: str) -> bytes:
    """Mean stage-2 weight of every expert for every task."""
    plt = _pyplot()
    tasks_, experts = list(mean), list(next(iter(mean.values())))
    values = np.array([[mean[t][e] for e in experts] for t in tasks_])
    figure, axis = plt.subplots(
        figsize=(1.5 + 0.9 * len(experts), 1.3 + 0.32 * len(tasks_)), dpi=110, layout="constrained"
    )
    image = axis.imshow(values, cmap="viridis", vmin=0, aspect="auto")
    for i, row in enumerate(values):
        for j, v in enumerate(row):
            axis.text(
                j, i, f"{v:.2f}", ha="center", va="center", fontsize=7, color="w" if v < 0.6 * values.max() else "k"
            )
    axis.set_xticks(range(len(experts)), experts, rotation=25, ha="right", fontsize=8)
    axis.set_yticks(range(len(tasks_)), tasks_, fontsize=8)
    axis.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axis)
    return _png(figure)


def _lines(axis: Any, effects: Sequence[Effect], floor: float | None, factor: float) -> None:
    places = np.arange(len(effects))[::-1]
    if floor:
        axis.axvspan(-factor * floor, factor * floor, color="#d0d7de", alpha=0.6, lw=0)
    axis.axvline(0, color="#1f2328", lw=0.8)
    for place, e in zip(places, effects, strict=True):
        low, high = e.customer_interval if e.low is None or e.high is None else (e.low, e.high)
        axis.plot([low, high], [place, place], color=COLOURS[e.verdict], lw=2)
        axis.plot([e.mean], [place], "o", color=COLOURS[e.verdict], ms=5)
    axis.tick_params(axis="x", labelsize=8)
    axis.locator_params(axis="x", nbins=4)
    axis.set_ylim(-0.6, len(effects) - 0.4)
    axis.grid(axis="x", lw=0.3)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    _pyplot().close(figure)
    return buffer.getvalue()
