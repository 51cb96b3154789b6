"""Two pictures of a trained teacher: are its probabilities true, and which tasks pull the same way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline_lib.teacher.metrics import Array, expected_calibration_error

_DPI, _BINS = 110, 10
_RAW, _CALIBRATED = "#7f7f7f", "#1f77b4"


def draw_calibration(
    path: Path, labels: Mapping[str, Array], raw: Mapping[str, Array], calibrated: Mapping[str, Array]
) -> None:
    """Reliability of every binary task before and after calibration: share of positives by bins of equal mass.

    Args: task -> labels (n,) with NaN = masked, and probabilities (n,); rows that neither trained nor calibrated.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [name for name, y in labels.items() if (~np.isnan(y)).sum() >= _BINS]
    columns = min(4, max(1, len(names)))
    figure = Figure(
        figsize=(3.2 * columns, 3.2 * max(1, math.ceil(len(names) / columns))), dpi=_DPI, layout="constrained"
    )
    FigureCanvasAgg(figure)
    for place, name in enumerate(names, start=1):
        axes = figure.add_subplot(math.ceil(len(names) / columns), columns, place)
        known = ~np.isnan(labels[name])
        y, top, errors = labels[name][known], 0.0, []
        for found, colour, word in ((raw, _RAW, "raw"), (calibrated, _CALIBRATED, "calibrated")):
            p = found[name][known]
            expected, observed = reliability(y, p, _BINS)
            axes.plot(expected, observed, "o-", color=colour, label=word, markersize=3)
            top = max(top, float(expected.max()), float(observed.max()))
            errors.append(expected_calibration_error(y, p))
        axes.plot([0, top], [0, top], color="black", linewidth=0.8, linestyle=":")
        axes.set_title(f"{name}\nECE {errors[0]:.3f} raw, {errors[1]:.3f} calibrated", fontsize=8)
        axes.set(xlabel="mean probability", ylabel="share of positives")
        if place == 1:
            axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Software": None})


def reliability(y: Array, p: Array, bins: int) -> tuple[Array, Array]:
    """Mean probability and share of positives per bin of equal mass. (n,) -> (bins,) each."""
    parts = [part for part in np.array_split(np.argsort(p, kind="stable"), bins) if len(part)]
    return np.array([p[part].mean() for part in parts]), np.array([y[part].mean() for part in parts])


def draw_affinity(path: Path, tasks: Sequence[str], affinity: Array, negative: Mapping[str, Sequence[str]]) -> None:
    """Cosines of the tasks' gradients at the experts (T, T); pairs below the blocking threshold are framed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    size = 3 + 0.45 * len(tasks)
    figure = Figure(figsize=(size + 1, size), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    shown = affinity - np.diag(np.diag(affinity))  # the diagonal is 1 by definition and would drown the rest
    most = max(float(np.abs(shown).max()), 0.05)
    image = axes.imshow(shown, cmap="RdBu", vmin=-most, vmax=most)
    axes.set_xticks(range(len(tasks)), tasks, rotation=90, fontsize=8)
    axes.set_yticks(range(len(tasks)), tasks, fontsize=8)
    for i, task in enumerate(tasks):
        for other in negative.get(task, ()):
            axes.add_patch(Rectangle((tasks.index(other) - 0.5, i - 0.5), 1, 1, fill=False, linewidth=1.5))
    axes.set_title("Affinity: mean cosine of task gradients at the experts (framed: conflict)", fontsize=9)
    figure.colorbar(image, ax=axes, shrink=0.8)
    figure.savefig(path, metadata={"Software": None})
