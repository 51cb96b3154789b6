"""Tasks x criteria as one picture: green met, amber Tier 2 missed, red Tier 1 missed, white does not apply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COLUMNS = (
    "kl", "kl_rel", "dispersion", "auc_gap", "f1_gap", "nmae_gap", "nrmse_gap", "ece", "rank_corr", "agreement",
    "topdecile_overlap", "quartile_agreement", "jsd", "segment_gap",
)  # fmt: skip
MET, TIER2, TIER1, INFORMATIVE, EMPTY = "#c9e7cb", "#ffe3a3", "#f4b1ab", "#e8e8e8", "#ffffff"
_WORDS = {"pass": MET, "fail": TIER1, "exempt": INFORMATIVE, "rules": INFORMATIVE, "missing": TIER1}


def draw(rows: Sequence[tuple[str, Mapping[str, Any] | None]], headline: str, path: Path) -> None:
    """One row per expected task; None where there is no report. The same rows give the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

    figure = Figure(figsize=(17, 1.3 + 0.36 * len(rows)), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.axis("off")
    axes.set_title(f"Fidelity of students to their teacher: {headline}", fontsize=12, loc="left", pad=14)
    cells = [_cells(report) for _, report in rows]
    table = axes.table(
        cellText=[[text for text, _ in row] for row in cells],
        cellColours=[[colour for _, colour in row] for row in cells],
        rowLabels=[task for task, _ in rows],
        colLabels=["route", "verdict", *(name.replace("_", "\n") for name in COLUMNS)],
        cellLoc="center",
        loc="upper center",
        bbox=Bbox.from_bounds(0.12, 0.0, 0.88, 1.0),
    )
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    axes.text(0.12, -0.05, "green: met   amber: Tier 2 missed   red: Tier 1 missed   grey: informational", fontsize=9)
    figure.savefig(path, format="png", bbox_inches="tight", metadata={"Software": None})


def _cells(report: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """(text, colour) of one row."""
    if report is None:
        return [("missing", TIER1), ("missing", TIER1), *[("", EMPTY)] * len(COLUMNS)]
    head = [(report["route"], EMPTY), (report["verdict"], _WORDS[report["verdict"]])]
    return head + [_cell(report, name) for name in COLUMNS]


def _cell(report: Mapping[str, Any], name: str) -> tuple[str, str]:
    if name not in report["metrics"]:
        return "", EMPTY
    value = report["metrics"][name]
    text = "n/a" if value is None else f"{value:.3f}"
    if report["route"] != "distil":
        return text, INFORMATIVE
    if any(miss["criterion"] == name for miss in report["tier1_failing"]):
        return text, TIER1
    if any(miss["criterion"] == name for miss in report["tier2_failing"]):
        return text, TIER2
    return text, MET if value is not None else INFORMATIVE
