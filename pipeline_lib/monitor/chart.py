"""Drift of a challenger as one picture: tasks x statistics beside each predecessor, and the features that moved most.

Red is beyond its limit, green within; grey was not compared or is undefined. The same summary gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Any

from pipeline_lib.monitor.shifts import STATISTICS, bounds
from pipeline_lib.settings.monitoring import Monitoring, Successive

WITHIN, BEYOND, UNKNOWN = "#c9e7cb", "#f4b1ab", "#e8e8e8"
BAR, WARN, CRITICAL = "#7a9cc6", "#d39a00", "#c0392b"
HEADS = ("PSI", "JSD [bit]", "AUC shift", "mean shift", "rank corr.")
Cell = tuple[str, str]
"""Text and colour."""


def draw(summary: Mapping[str, Any], limits: Monitoring, path: Path) -> None:
    """Two tables and a bar chart.

    Args:
        summary: of the stage ``drift``, reals as numbers.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 11), dpi=100)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, height_ratios=(3, 2), wspace=0.45, hspace=0.2, left=0.14, right=0.98)
    for place, role, why in ((0, "champion", "why"), (1, "anchor", "anchor_why")):
        axes = figure.add_subplot(grid[0, place])
        title = f"{summary['versions']['challenger']} beside the {role} {summary['versions'][role] or ''}"
        _table(axes, summary[role], summary[why], title, limits.successive)
    _features(figure.add_subplot(grid[1, :]), summary["features"], limits)
    figure.suptitle(f"Drift of successive students: {len(summary['alerts'])} alerts", x=0.02, ha="left", fontsize=14)
    figure.savefig(path, format="png", metadata={"Software": None})


def _table(axes: Any, tasks: Mapping[str, Any] | None, why: str | None, title: str, limits: Successive) -> None:
    axes.axis("off")
    axes.set_title(title, fontsize=11, loc="left")
    if tasks is None:
        axes.text(0.0, 0.9, why, fontsize=11, color="#555555")
        return
    rows = [[_cell(shift, name, limits) for name in STATISTICS] for shift in tasks.values()]
    heads = [f"{head}\n{_limit(name, limits)}" for head, name in zip(HEADS, STATISTICS, strict=True)]
    table = axes.table(
        cellText=[[text for text, _ in row] for row in rows],
        cellColours=[[colour for _, colour in row] for row in rows],
        rowLabels=list(tasks),
        colLabels=heads,
        cellLoc="center",
        bbox=(0.0, 0.0, 1.0, 1.0),
    )
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    for line, shift in enumerate(tasks.values(), 1):
        if why := shift.get("why"):
            axes.text(0.02, 1 - (line + 0.5) / (len(tasks) + 1), why, fontsize=9, va="center")
            for column in range(len(STATISTICS)):
                table[line, column].set_edgecolor(UNKNOWN)


def _cell(shift: Mapping[str, Any], name: str, limits: Successive) -> Cell:
    value = shift[name]
    if shift.get("why"):
        return "", UNKNOWN
    if value is None:
        return "-", UNKNOWN
    low, high = bounds(name, limits)
    return f"{value:.3f}", WITHIN if low <= value <= high else BEYOND


def _limit(name: str, limits: Successive) -> str:
    low, high = bounds(name, limits)
    return f"<= {high}" if high < inf else f">= {low}"


def _features(axes: Any, features: Mapping[str, Any], limits: Monitoring) -> None:
    worst, drift = list(features["worst"].items())[::-1], limits.drift
    if not worst:
        axes.axis("off")
        axes.text(0.0, 0.8, f"Features: {features['why'] or 'none to compare'}", fontsize=11, color="#555555")
        return
    axes.barh([name for name, _ in worst], [value for _, value in worst], color=BAR)
    for limit, colour, word in (
        (drift.feature_psi_warn, WARN, "warn"),
        (drift.feature_psi_critical, CRITICAL, "critical"),
    ):
        axes.axvline(limit, color=colour, linestyle="--", linewidth=1)
        axes.text(limit, 1.01, f"{word} {limit}", color=colour, fontsize=9, transform=axes.get_xaxis_transform())
    axes.set_xlabel("population stability index against the champion's baseline", fontsize=9)
    axes.tick_params(labelsize=9)
    counted = f"{features['critical']} critical, {features['warn']} warn of {features['compared']} features"
    alone = f", {features['unmatched']} on one side only" if features["unmatched"] else ""
    axes.set_title(f"{counted}{alone}; {features['rows']} customers", fontsize=11, loc="right")
    axes.margins(y=0.02)
