"""Three pictures: distances with their threshold, faithfulness per task, and what the attribution names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.teacher.explain.quality import Deletion

_DPI = 110
_LARGEST = 20


def draw_distances(
    path: Path, parts: Mapping[str, np.ndarray], probes: Mapping[str, np.ndarray], threshold: float | None
) -> None:
    """Distributions of the distance per part (left) and of the probes beside part fidelity (right)."""
    figure = _figure((12, 4.6))
    left, right = figure.subplots(1, 2, sharex=True)
    every = np.concatenate([v[np.isfinite(v) & (v > 0)] for v in (*parts.values(), *probes.values())])
    bins = np.geomspace(every.min(), every.max(), 60) if len(every) else np.geomspace(1, 10, 60)
    for name, values in parts.items():
        left.hist(values, bins, weights=_shares(values), histtype="step", label=f"{name} ({len(values):,})")
    reference = parts.get("fidelity", np.empty(0))
    right.hist(reference, bins, weights=_shares(reference), color="#cccccc", label="fidelity")
    for name, values in probes.items():
        right.hist(values, bins, weights=_shares(values), histtype="step", label=name)
    left.set(ylabel="share of rows", title="Rows of each part")
    right.set(title="Probes, made from rows of part fidelity")
    for axes in (left, right):
        axes.set(xscale="log", xlabel="Mahalanobis distance")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        if threshold is not None:
            axes.axvline(threshold, color="#d62728", linestyle=":", label=f"threshold {threshold:.2f}")
        axes.legend(frameon=False)
    _save(figure, path)


def draw_faithfulness(path: Path, found: Mapping[str, Any]) -> None:
    """``found`` is what ``faithfulness`` returns."""
    tasks = {name: value for name, value in found["tasks"].items()}
    figure = _figure((8, 1.6 + 0.34 * len(tasks)))
    axes = figure.subplots()
    values = [np.nan if v is None else v for v in tasks.values()]
    bound = found["min_correlation"]
    colours = ["#1f77b4" if v > bound else "#c7c7c7" for v in values]
    axes.barh(list(tasks), values, color=colours)
    axes.axvline(bound, color="#d62728", linestyle=":", label=f"bound {bound}")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.invert_yaxis()
    title = f"Gate weight against what the logit owes to the expert: {found['faithful_tasks']} of {len(tasks)} tasks"
    axes.set(xlabel="mean Spearman over rows", title=title, xlim=(min(-0.2, np.nanmin([*values, 0])), 1))
    axes.legend(frameon=False)
    _save(figure, path)


def draw_attribution(path: Path, mean_absolute: Mapping[str, float], deletion: Deletion, method: str) -> None:
    """The columns with the largest mean |attribution| (left), and the deletion curve (right)."""
    figure = _figure((12, 5.4))
    left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
    largest = sorted(mean_absolute.items(), key=lambda item: -item[1])[:_LARGEST]
    left.barh([name for name, _ in largest], [value for _, value in largest], color="#1f77b4")
    left.invert_yaxis()
    left.set(xlabel="mean |attribution|", title=f"Largest columns, method {method}")
    right.plot(deletion.shares[: len(deletion.named)], deletion.named, marker="o", label="named columns first")
    right.plot(deletion.shares[: len(deletion.random)], deletion.random, marker="o", label="random", color="#7f7f7f")
    right.set(xlabel="share of columns set to their mean", ylabel="mean |change|", title="Deletion", ylim=(0, None))
    right.legend(frameon=False)
    _save(figure, path)


def _shares(values: np.ndarray) -> np.ndarray:
    return np.full(len(values), 1 / max(len(values), 1))


def _figure(size: tuple[float, float]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Software": None})
