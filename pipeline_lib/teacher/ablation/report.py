"""What people read: Markdown with pictures beside it, and one HTML page that holds everything.

A family whose checklist fails is shown with its figures and without any conclusion. An effect that is not shown to be
real is called null, with its interval: absence of evidence has a width. Source: teacher.md section 19.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline_lib.settings.ablation import Protocol
from pipeline_lib.teacher.ablation import plots
from pipeline_lib.teacher.ablation.effects import Effect
from pipeline_lib.teacher.ablation.record import Record
from pipeline_lib.teacher.ablation.sanity import as_body
from pipeline_lib.teacher.ablation.summary import HEADLINES, NOT_CONCLUDED, Summary

STYLE = """body{font:15px/1.45 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:#1f2328}
table{border-collapse:collapse;font-size:13px;margin:1rem 0}td,th{border-bottom:1px solid #d0d7de;padding:.25rem .6rem;
text-align:left}td+td{font-variant-numeric:tabular-nums;white-space:nowrap}img{max-width:100%}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}td,th{border-color:#30363d}img{background:#fff}}"""


@dataclass(frozen=True)
class Table:
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """A PNG and its file's name."""

    name: str
    png: bytes


REAL = {"better", "worse"}
Piece = str | Table | Picture
"""A paragraph or heading (``## ...``), a table, or a picture."""


def write(folder: Path, summaries: Sequence[Summary], protocol: Protocol, conditions: Mapping[str, str]) -> None:
    """``study.md``, ``study.html``, the pictures, and ``checklist-<family>.json`` of every family."""
    folder.mkdir(parents=True, exist_ok=True)
    pieces = [*_head(conditions), *(piece for s in summaries for piece in family_pieces(s)), *_tail(protocol)]
    for piece in pieces:
        if isinstance(piece, Picture):
            (folder / piece.name).write_bytes(piece.png)
    for s in summaries:
        body = json.dumps(as_body(s.checks), indent=1)
        (folder / f"checklist-{s.family.name}.json").write_text(body + "\n", encoding="utf-8")
    (folder / "study.md").write_text("\n".join(map(_markdown, pieces)), encoding="utf-8")
    page = "".join(map(_html, pieces))
    (folder / "study.html").write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Teacher study</title><style>{STYLE}</style>"
        f"{page}</html>\n",
        encoding="utf-8",
    )


def family_pieces(summary: Summary) -> list[Piece]:
    """A family: its question, the checklist, values, effects, tasks."""
    s, family = summary, summary.family
    pieces: list[Piece] = [f"## {family.title}", family.question, _checklist(s)]
    if not s.measured:
        return [*pieces, "Nothing was run."]
    pieces.append(_conclusion(s))
    if missing := [scenario.title for scenario in family.scenarios if scenario.name not in s.measured]:
        pieces.append(f"Listed and not run: {', '.join(missing)}.")
    pieces += [_values(s), _elsewhere(s)]
    if s.effects:
        pieces += [_effects(s), Picture(f"study-{family.name}.png", plots.forest(s, HEADLINES[:4]))]
    compared = [scenario.name for scenario in family.scenarios if any(e.scenario == scenario.name for e in s.effects)]
    if compared and len(compared) <= 4:
        pieces += [_tasks(s, compared), Picture(f"study-{family.name}-tasks.png", plots.tasks(s, compared))]
    return pieces


def _head(conditions: Mapping[str, str]) -> list[Piece]:
    rows = [[name, value] for name, value in conditions.items()]
    return ["# What each part of the teacher is worth", Table(["condition", ""], rows)]


def _tail(protocol: Protocol) -> list[Piece]:
    return ["## Not run", Table(["family", "why"], [[name, why] for name, why in protocol.not_run.items()])]


def _checklist(s: Summary) -> Piece:
    rows = [["yes" if c.passed else "**NO**", c.name, c.detail] for c in s.checks]
    return Table(["passed", "check", "found"], rows)


def _conclusion(s: Summary) -> str:
    """What is shown, metric by metric; what is not shown is called null."""
    if s.silent:
        return "**The checklist fails: no conclusion is drawn from the figures below.**"
    said = [] if s.sound else [f"**No conclusion about {_named(s)}: see the checklist.**"]
    for metric in HEADLINES[:4]:
        real = [
            f"{_title(s, e.scenario)} is {e.verdict} than {_title(s, e.against)} by {abs(e.mean):.4f} ({_interval(e)})"
            for e in s.of(metric)
            if e.verdict in REAL
        ]
        said.append(f"On {metric}: {'; '.join(real) if real else 'no difference is shown to be real'}.")
    nulls = [_title(s, e.scenario) for e in s.of("composite") if e.verdict == "null"]
    return " ".join(said) + (f" Null results on the composite: {'; '.join(nulls)}." if nulls else "")


def _values(s: Summary) -> Piece:
    metrics = [m for m in HEADLINES if any(not np.isnan(s.mean(name, m)) for name in s.measured)]
    rows = []
    for scenario in s.family.scenarios:
        if scenario.name not in s.measured:
            continue
        records = s.records[scenario.name]
        first: Record = next(iter(records.values()))
        cpu = np.mean([r.cpu_seconds for r in records.values()])
        values = [f"{s.mean(scenario.name, m):.4f}" for m in metrics]
        size = "" if first.parameters is None else f"{first.parameters:,}"
        rows.append([scenario.title, str(len(records)), size, f"{cpu:.0f}", *values])
    floor = ["noise floor (sd over seeds)", "", "", "", *(_plain(s.floors.get(m)) for m in metrics)]
    return Table(["scenario", "seeds", "parameters", "CPU-s a run", *metrics], [*rows, floor])


def _elsewhere(s: Summary) -> Piece:
    """The same runs on the other sets of parts, and the worst calibration error of a binary task on the judged rows."""
    judged, others = "+".join(s.protocol.judged), ["+".join(parts) for parts in s.protocol.also]
    shown = {"avg_auc": "AUC", "avg_ndcg": "NDCG", "avg_normalised_mae": "MAE / trivial"}
    rows = []
    for name in s.measured:
        runs = list(s.records[name].values())
        cells = [_mean([r.scores[part]["all"][m] for r in runs]) for part in others for m in shown]
        rows.append([_title(s, name), *cells, _mean([_worst_ece(r.scores[judged]["tasks"]) for r in runs])])
    head = [f"{label} on {part}" for part in others for label in shown.values()]
    return Table(["elsewhere", *head, "worst ECE, calibrated"], rows)


def _worst_ece(tasks: Mapping[str, Mapping[str, float | None]]) -> float | None:
    found = [ece for scores in tasks.values() if (ece := scores.get("ece")) is not None]
    return max(found) if found else None


def _mean(values: Sequence[float | None]) -> str:
    known = [v for v in values if v is not None]
    return f"{np.mean(known):.4f}" if known else "undefined"


def _effects(s: Summary) -> Piece:
    metrics = HEADLINES[:4]
    rows = []
    for scenario in s.family.scenarios:
        own = {e.metric: e for e in s.effects if e.scenario == scenario.name}
        if own:
            main = own["composite"]
            cells = [f"{_signed(own[m].mean)} ({_interval(own[m])})" if m in own else "" for m in metrics]
            rows.append([scenario.title, _title(s, main.against), *cells, f"{main.p_holm:.3f}", main.verdict])
    return Table(["difference", "against", *metrics, "Holm p", "composite"], rows)


def _tasks(s: Summary, compared: Sequence[str]) -> Piece:
    """Values of every scenario beside what is free, and differences; a star marks what is real."""
    against = {e.scenario: e.against for e in s.effects}
    head = [*(_title(s, name) for name in s.measured), *(f"{_title(s, n)} - {_title(s, against[n])}" for n in compared)]
    rows = []
    for metric in s.tasks:
        own = {e.scenario: e for e in s.of(metric)}
        values = [f"{s.mean(name, metric):.3f}" for name in s.measured]
        label, free = _trivial(s, metric)
        rows.append([metric.removeprefix("task:"), label, free, *values, *(_starred(own[n]) for n in compared)])
    return Table(["task", "metric", "trivial", *head], rows)


def _trivial(s: Summary, metric: str) -> tuple[str, str]:
    """The metric of a task, and what prevalence or the train median reaches on the judged rows."""
    record = next(iter(next(iter(s.records.values())).values()))
    scores = record.scores["+".join(s.protocol.judged)]["tasks"][metric.removeprefix("task:")]
    if "auc" in scores:
        return "AUC", "0.500"
    if "mae" in scores:
        return "1 - MAE / trivial", "0.000"
    name = "ndcg" if metric.removeprefix("task:") in s.ranked else "macro_f1"
    return {"ndcg": "NDCG@3", "macro_f1": "macro-F1"}[name], f"{scores[f'trivial_{name}']:.3f}"


def _starred(e: Effect) -> str:
    return f"{_signed(e.mean)} ({_interval(e)}){' *' if e.verdict in REAL else ''}"


def _named(s: Summary) -> str:
    """Scenarios that nothing is concluded about."""
    stopped = dict.fromkeys(e.scenario for e in s.effects if e.verdict == NOT_CONCLUDED)
    return "; ".join(_title(s, name) for name in stopped)


def _title(s: Summary, name: str) -> str:
    return next(scenario.title for scenario in s.family.scenarios if scenario.name == name)


def _interval(e: Effect) -> str:
    if e.low is None or e.high is None:
        low, high = e.customer_interval
        return f"one seed; customers {_signed(low)} to {_signed(high)}"
    return f"{_signed(e.low)} to {_signed(e.high)}"


def _signed(value: float) -> str:
    return "n/a" if np.isnan(value) else f"{value:+.4f}"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _markdown(piece: Piece) -> str:
    if isinstance(piece, str):
        return piece + "\n"
    if isinstance(piece, Picture):
        return f"![{piece.name}]({piece.name})\n"
    lines = ["| " + " | ".join(line) + " |" for line in [piece.head, ["---"] * len(piece.head), *piece.rows]]
    return "\n".join(lines) + "\n"


def _html(piece: Piece) -> str:
    if isinstance(piece, str):
        level = len(piece) - len(piece.lstrip("#"))
        text = _plain_text(piece.lstrip("# "))
        return f"<h{level}>{text}</h{level}>" if level else f"<p>{text}</p>"
    if isinstance(piece, Picture):
        return f'<p><img alt="{piece.name}" src="data:image/png;base64,{base64.b64encode(piece.png).decode()}"></p>'
    head = "".join(f"<th>{_plain_text(cell)}</th>" for cell in piece.head)
    rows = ("".join(f"<td>{_plain_text(cell)}</td>" for cell in row) for row in piece.rows)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def _plain_text(text: str) -> str:
    return html.escape(text).replace("**", "")
