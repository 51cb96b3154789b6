"""Pictures of the leakage report as inline SVG: the same numbers give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from math import inf, isfinite
from typing import Any

from pipeline_lib.settings.leakage import Leakage

RC: dict[Any, Any] = {"svg.hashsalt": "leakage", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
CALM, WARN, FAIL = "#7c93b2", "#d99a2b", "#c0392b"
WIDTH = 9.0
EPOCH = date(1970, 1, 1).toordinal()


def of_frame(measures: Mapping[str, Any], limits: Leakage) -> dict[str, str]:
    """Title -> SVG, for the checks of features."""
    labels, out = measures["labels"], {}
    own, psi = limits.copies, limits.length
    ranked = [(f"{one['label']}: {one['auc'][0][0]}", one["auc"][0][1]) for one in labels if "auc" in one]
    out["Strongest single column per label, ROC-AUC (classes: mean)"] = _bars(ranked, own.warn_auc, own.fail_auc, 0.5)
    close = [(f"{one['label']}: {one['correlation'][0][0]}", one["correlation"][0][1]) for one in labels]
    out["Strongest correlation per label, |r| or correlation ratio"] = _bars(
        close, own.warn_correlation, own.fail_correlation, 0.0
    )
    for split, top in measures["psi"].items():
        title = f"Drift from train to {split}, PSI, the {len(top)} columns that move most"
        out[title] = _bars([(name, value) for name, value in top], psi.warn_psi, inf, 0.0)
    if measures["adversarial_auc"] is not None:
        value = [("train against test customers", measures["adversarial_auc"])]
        out["Can features tell the sides apart at one cutoff? ROC-AUC"] = _bars(
            value, limits.order.warn_auc, limits.order.fail_auc, 0.5
        )
    return out


def of_tables(measures: Mapping[str, Any], limits: Leakage) -> dict[str, str]:
    """Title -> SVG, for the checks of tables."""
    return {
        "Customers per snapshot": _drawn(lambda axes: _panel(axes, measures["snapshots"]), 2.6),
        "Cutoffs and label windows of the splits": _drawn(lambda axes: _spans(axes, measures["splits"]), 2.4),
    }


def of_scores(measures: Mapping[str, Any], limits: Leakage) -> dict[str, str]:
    """Title -> SVG, for the checks of scores."""
    found = [(f"{one['task']}: {one['model']}", one["value"]) for one in measures["scores"] if one["metric"] == "auc"]
    if not found:
        return {}
    best = [(f"{task}: best possible", value) for task, value in measures["oracle"].items()]
    return {
        "ROC-AUC of the models beside the best that the law allows": _bars(
            [*found, *best], inf, limits.scores.max_auc, 0.5
        )
    }


def _bars(rows: Sequence[tuple[str, float]], warn: float, fail: float, start: float) -> str:
    """Horizontal bars from ``start``, the largest on top, with both limits."""
    ordered = sorted(rows, key=lambda row: (row[1], row[0]))

    def draw(axes: Any) -> None:
        colours = [FAIL if value >= fail else WARN if value >= warn else CALM for _, value in ordered]
        axes.barh(range(len(ordered)), [value - start for _, value in ordered], left=start, color=colours, height=0.7)
        axes.set_yticks(range(len(ordered)), [name for name, _ in ordered])
        for place, (_, value) in enumerate(ordered):
            axes.annotate(f"{value:.3f}", (value, place), (3, 0), textcoords="offset points", va="center", fontsize=8)
        edges = [value for _, value in ordered]
        for limit, colour, name in ((warn, WARN, "warn"), (fail, FAIL, "fail")):
            if isfinite(limit):
                axes.axvline(limit, color=colour, linewidth=1, linestyle="--", label=f"{name} {limit:g}")
                edges.append(limit)
        axes.set_xlim(start, max(edges) * 1.08)
        axes.legend(loc="lower right", frameon=False, fontsize=8)

    return _drawn(draw, 0.9 + 0.24 * len(ordered))


def _panel(axes: Any, snapshots: Sequence[Mapping[str, Any]]) -> None:
    axes.bar(range(len(snapshots)), [one["rows"] for one in snapshots], color=CALM)
    names = [one["name"].removesuffix(".parquet") for one in snapshots]
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)


def _spans(axes: Any, splits: Sequence[Mapping[str, Any]]) -> None:
    for place, one in enumerate(splits):
        first, last = (date.fromisoformat(one[key] or one["first"]).toordinal() - EPOCH for key in ("first", "last"))
        axes.barh(place, max(last - first, 2), left=first, color=CALM, height=0.6)
        axes.annotate(f" {one['rows']:,} rows", (max(last, first + 2), place), va="center", fontsize=8)
    axes.set_yticks(range(len(splits)), [one["split"] for one in splits])
    axes.xaxis_date()
    axes.margins(x=0.15)


def _drawn(draw: Callable[[Any], None], height: float) -> str:
    """The picture as an ``<svg>`` element without date, random ids or fonts of the machine."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context(RC):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        canvas: Any = FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        draw(axes)
        buffer = io.StringIO()
        canvas.print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
