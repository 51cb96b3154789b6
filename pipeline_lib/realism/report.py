"""``fidelity_report.json`` and the page people look at. The same rows give the same bytes."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.realism.dynamics import HAZARD_BINS, HOLDING_LAGS, SPEND_LAGS, autocorrelation, hazard_of
from pipeline_lib.realism.panel import Panel
from pipeline_lib.realism.rows import Row, worst

COLOURS = {"PASS": "#1a7f37", "WEAK": "#9a6700", "FAIL": "#cf222e", "UNKNOWN": "#57606a", "INFO": "#57606a"}
STYLE = """body{font:15px/1.45 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1f2328}
table{border-collapse:collapse;width:100%;font-size:13px}
td,th{border-bottom:1px solid #d0d7de;padding:.3rem .5rem;
text-align:left;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}img{max-width:100%}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}td,th{border-color:#30363d}img{background:#fff}}"""


def write(folder: Path, title: str, conditions: dict[str, Any], rows: Sequence[Row], panels: Sequence[Panel]) -> None:
    """Write ``fidelity_report.json`` and ``fidelity_report.html`` into ``folder``."""
    body = {"title": title, "conditions": conditions, "verdict": worst(rows), "rows": [asdict(row) for row in rows]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fidelity_report.json").write_text(json.dumps(body, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "fidelity_report.html").write_text(_page(title, conditions, rows, panels), encoding="utf-8")


def _page(title: str, conditions: dict[str, Any], rows: Sequence[Row], panels: Sequence[Panel]) -> str:
    families = list(dict.fromkeys(row.family for row in rows))
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in COLOURS}
    summary = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n)
    stated = "".join(f"<li>{html.escape(str(k))}: {html.escape(str(v))}</li>" for k, v in conditions.items())
    tables = "".join(_table(family, [row for row in rows if row.family == family]) for family in families)
    pictures = "".join(f'<img alt="{name}" src="data:image/png;base64,{png}">' for name, png in _plots(rows, panels))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"
        f"<h1>{html.escape(title)}</h1><p>{summary}</p><ul>{stated}</ul>{pictures}{tables}</html>\n"
    )


def _table(family: str, rows: Sequence[Row]) -> str:
    lines = "".join(
        f"<tr><td>{html.escape(row.metric)}</td><td>{html.escape(row.subject)}</td><td class=n>{_number(row)}</td>"
        f'<td>{html.escape(row.limit)}</td><td style="color:{COLOURS[row.verdict]}"><b>{row.verdict}</b></td>'
        f"<td>{html.escape(row.note)}</td></tr>"
        for row in rows
    )
    head = "<tr><th>measure<th>of<th>value<th>limit<th>verdict<th>note</tr>"
    return f"<h2>{html.escape(family)}</h2><table>{head}{lines}</table>"


def _number(row: Row) -> str:
    if row.value is None:
        return "unknown"
    interval = f" [{row.interval[0]:.3f}, {row.interval[1]:.3f}]" if row.interval else ""
    return f"{row.value:.3f}{interval}"


def _plots(rows: Sequence[Row], panels: Sequence[Panel]) -> list[tuple[str, str]]:
    """(name, PNG as base64) of the pictures."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(12, 7.5), dpi=110, layout="constrained")
    for panel in panels:
        _draw_panel(axes, panel)
    for axis, title in zip(
        axes.flat, ("age", "memory of holdings and ln spend", "hazard of adding", "waiting days"), strict=True
    ):
        axis.set_title(title)
        axis.legend(fontsize=8)
    pictures = [("banks side by side", _png(figure))]
    plt.close(figure)
    difficulty = [row for row in rows if row.family == "difficulty" and row.value is not None]
    if difficulty:
        figure, axis = plt.subplots(figsize=(12, 0.35 * len(difficulty) + 1.2), dpi=110, layout="constrained")
        place = np.arange(len(difficulty))[::-1]
        axis.barh(place, [row.value or 0.0 for row in difficulty], color=[COLOURS[row.verdict] for row in difficulty])
        axis.set_yticks(place, [f"{row.metric} {row.subject}" for row in difficulty], fontsize=8)
        axis.set_title("what raw observables reach (green inside its band)")
        pictures.append(("difficulty", _png(figure)))
        plt.close(figure)
    return pictures


def _draw_panel(axes: Any, panel: Panel) -> None:
    age = panel.profile["age"].drop_nulls().to_numpy()
    if len(age):
        axes[0, 0].hist(age, bins=np.arange(18, 101, 4), density=True, histtype="step", label=panel.name)
    for what, values, lags in (("holdings", panel.num_products, HOLDING_LAGS), ("spend", panel.log_spend, SPEND_LAGS)):
        r = [autocorrelation(values, lag) for lag in lags]
        known = [(lag, value) for lag, value in zip(lags, r, strict=True) if value is not None]
        if known:
            axes[0, 1].plot(*zip(*known, strict=True), marker="o", label=f"{panel.name}, {what}")
    if panel.products:
        axes[1, 0].plot(HAZARD_BINS, hazard_of(panel), marker="o", label=panel.name)
    if len(panel.gaps):
        axes[1, 1].hist(panel.gaps, bins=np.arange(0, 31), density=True, histtype="step", label=panel.name)


def _png(figure: Any) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return base64.b64encode(buffer.getvalue()).decode()
