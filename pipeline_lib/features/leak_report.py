"""The leakage report of one check stage as a page for people: self-contained, no script, no network.

Computes nothing: what was judged is in ``coverage.json``, what was found in ``leakage_report.json``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from pipeline_lib.contracts.leakage import Coverage
from pipeline_lib.features.leak_acks import Acks, key_of
from pipeline_lib.records import Finding

STYLE = """
body{font:14px/1.45 system-ui,sans-serif;color:#1c2430;max-width:1120px;margin:24px auto;padding:0 20px}
h1{font-size:22px;margin:0 0 4px} h2{font-size:16px;margin:28px 0 8px} p{margin:4px 0}
table{border-collapse:collapse;width:100%;font-size:13px}
th,td{text-align:left;padding:4px 8px;border-bottom:1px solid #e3e7ec;vertical-align:top}
th{background:#f5f7f9;font-weight:600} td.n{text-align:right;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto} .matrix th.l{writing-mode:vertical-rl;transform:rotate(180deg);padding:6px 2px;font-weight:400}
.matrix td.c{text-align:center;padding:2px 4px} .ok{color:#2e7d4f} .na{color:#98a2ae}
.tag{display:inline-block;border-radius:3px;padding:0 6px;font-weight:600;font-size:12px}
.FAIL,.UNJUDGED{background:#f4b1ab} .WARN{background:#ffe3a3} .PASS{background:#c9e7cb} .seen{background:#e8e8e8}
svg{max-width:100%;height:auto} figure{margin:12px 0 20px} figcaption{font-weight:600;margin-bottom:4px}
"""
_ABOUT_OTHERS, _NOT_JUDGED = '<td class="c na">.', '<td class="c na">&ndash;'


def page(coverage: Coverage, found: Sequence[Finding], acks: Acks, pictures: Mapping[str, str]) -> str:
    """One HTML page."""
    parts = (
        _head(coverage, found, acks),
        _findings(found, acks),
        _not_judged(coverage),
        _matrix(coverage),
        _pictures(pictures),
    )
    body = "\n".join(line for part in parts for line in part)
    title = escape(f"Leakage report: {coverage.name}")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _head(coverage: Coverage, found: Sequence[Finding], acks: Acks) -> Iterator[str]:
    stops = [f for f in found if f.verdict != "WARN"]
    warns = [f for f in found if f.verdict == "WARN"]
    seen = sum(key_of(f.check, f.column, f.label) in acks for f in warns)
    verdict, said = ("FAIL", "stopped the run") if stops else ("PASS", "no leak found")
    yield f"<h1>Leakage report</h1><p>{escape(coverage.name)}</p>"
    yield f'<p><span class="tag {verdict}">{verdict}</span> {said}: {len(stops)} findings that stop a run, '
    yield f"{len(warns)} warnings ({len(warns) - seen} open, {seen} acknowledged).</p>"
    yield f"<p>{len(coverage.checks)} rules, {len(coverage.labels)} labels, {coverage.columns} columns, tables or "
    yield f"scores, {coverage.rows:,} rows. Not judged: {len(coverage.not_judged)}.</p>"


def _findings(found: Sequence[Finding], acks: Acks) -> Iterator[str]:
    yield "<h2>Findings</h2>"
    if not found:
        yield "<p>None.</p>"
        return
    yield "<table><tr><th>id<th>verdict<th>column<th>label<th>statistic<th>value<th>limit<th>what it means</tr>"
    order = {"FAIL": 0, "UNJUDGED": 1, "WARN": 2}
    for f in sorted(found, key=lambda f: (order[f.verdict], f.check, f.column, f.label)):
        ack = acks.get(key_of(f.check, f.column, f.label))
        state = f'<br><span class="tag seen">seen by {escape(str(ack["approver"]))}</span>' if ack else ""
        opened = "" if ack or f.verdict != "WARN" else "<br>open"
        cells = (f.column, f.label, f.statistic)
        yield (
            f'<tr><td>{f.check}<td><span class="tag {f.verdict}">{f.verdict}</span>{state}{opened}'
            + "".join(f"<td>{escape(text)}" for text in cells)
            + f'<td class="n">{escape(f.value)}<td class="n">{escape(f.threshold)}<td>{escape(f.message)}</tr>'
        )
    yield "</table>"


def _not_judged(coverage: Coverage) -> Iterator[str]:
    yield "<h2>What could not be judged</h2>"
    if not coverage.not_judged:
        yield "<p>Everything was judged.</p>"
        return
    yield "<table><tr><th>what<th>why</tr>"
    for what, why in sorted(coverage.not_judged.items()):
        yield f"<tr><td>{escape(what.replace('_', ' ') if what in coverage.rules else what)}<td>{escape(why)}</tr>"
    yield "</table>"


def _matrix(coverage: Coverage) -> Iterator[str]:
    """Rules x labels; a rule that needs no label has one cell for all."""
    counts = coverage.measures.get("counts", {})
    labels = [name for name in coverage.labels if coverage.by_label]
    yield '<h2>What was covered</h2><div class="wide"><table class="matrix"><tr><th>ids<th>rule<th class="l">all rows'
    yield "".join(f'<th class="l">{escape(name)}' for name in labels) + "</tr>"
    for rule, ids in coverage.rules.items():
        own = counts.get(rule, {})
        once = _NOT_JUDGED if rule in coverage.not_judged else _cell(sum(own.values()))
        cells = [_ABOUT_OTHERS if rule in coverage.by_label else once]
        for label in labels:
            judged = label not in coverage.not_judged
            cell = _cell(own.get(label, 0)) if judged else _NOT_JUDGED
            cells.append(cell if rule in coverage.by_label else _ABOUT_OTHERS)
        yield f"<tr><td>{', '.join(ids)}<td>{escape(rule.replace('_', ' '))}{''.join(cells)}</tr>"
    yield "</table></div><p>&#10003; judged, nothing found. A number: findings of this rule. "
    yield "&ndash; not judged. A dot: the rule is about the other kind of cell.</p>"


def _cell(findings: int) -> str:
    return f'<td class="c"><span class="tag WARN">{findings}</span>' if findings else '<td class="c ok">&#10003;'


def _pictures(pictures: Mapping[str, str]) -> Iterator[str]:
    if pictures:
        yield "<h2>What the rules saw</h2>"
    for title, svg in pictures.items():
        yield f"<figure><figcaption>{escape(title)}</figcaption>{svg}</figure>"
