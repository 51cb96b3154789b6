"""One picture of a training run: composites per epoch, and which experts each task listens to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

_DPI = 110


def draw(
    path: Path,
    curve: Sequence[dict[str, Any]],
    best_epoch: int,
    gates: np.ndarray,
    tasks: Sequence[str],
    experts: Sequence[str],
) -> None:
    """``gates`` (T, E): mean stage-2 weights on validation rows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
    epochs = [row["epoch"] + 1 for row in curve]
    left.plot(epochs, [row["composite_fit"] for row in curve], label="train sample", color="#7f7f7f")
    left.plot(epochs, [row["composite_stop"] for row in curve], label="validation (selects)", color="#1f77b4")
    left.axvline(best_epoch + 1, color="#d62728", linestyle=":", label=f"best epoch {best_epoch + 1}")
    left.set(xlabel="epoch", ylabel="composite score", title="Composite of AUC, NDCG and 1 - normalised MAE")
    left.legend(frameon=False)
    start = np.zeros(len(tasks))
    for i, name in enumerate(experts):
        right.barh(list(tasks), gates[:, i], left=start, label=name)
        start = start + gates[:, i]
    right.invert_yaxis()
    right.set(xlim=(0, 1), xlabel="mean gate weight", title="Named experts per task (stage 2)")
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=4, frameon=False)
    figure.savefig(path, metadata={"Software": None})
