"""Small pieces of HTML: everything shown is escaped, what is not known is printed as unknown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from pipeline_lib.business_time import SEOUL

STYLE = """
body{font:14px/1.5 system-ui,"Noto Sans CJK KR","Noto Sans KR",sans-serif;color:#1c2430;max-width:960px;
margin:24px auto;padding:0 20px} h1{font-size:22px;margin:0 0 4px} h2{font-size:18px;margin:36px 0 8px;padding-top:10px;
border-top:3px solid #1c2430} h3{font-size:15px;margin:22px 0 6px} h3 small,h1 small{font-weight:400;color:#5d6876;
margin-left:8px} p{margin:4px 0} table{border-collapse:collapse;width:100%;font-size:13px;margin:4px 0 8px}
th,td{text-align:left;padding:3px 8px;border-bottom:1px solid #e3e7ec;vertical-align:top} th{background:#f5f7f9;
font-weight:600} table.facts th{width:230px} td.n{text-align:right;font-variant-numeric:tabular-nums}
code{font:12px ui-monospace,monospace;word-break:break-all} .na{color:#8a5a00;font-style:italic}
.tag{display:inline-block;border-radius:3px;padding:0 8px;font-weight:600} .good{background:#c9e7cb}
.bad{background:#f4b1ab} .note{background:#ffe3a3} ul{margin:4px 0;padding-left:20px}
.bar{display:inline-block;height:9px;background:#4a78b5} .down{background:#b5654a} .lead{font-size:16px;margin:8px 0}
@media print{body{max-width:none;margin:0;font-size:11px} h2{page-break-before:always} h2.first{page-break-before:auto}
h3,tr{page-break-inside:avoid} h3{page-break-after:avoid}}
"""
UNKNOWN = '<span class="na">unknown</span>'


class Html(str):
    """Made here and escaped already."""


def show(value: Any) -> str:
    """A value for people; None is unknown, an empty list is none."""
    if isinstance(value, Html):
        return str(value)
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{escape(str(key))} {show(item)}" for key, item in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return "; ".join(show(item) for item in value) or "none"
    text = str(value)
    return f"<code>{escape(text)}</code>" if _is_digest(text) else escape(text)


def facts(rows: Iterable[tuple[str, Any]]) -> str:
    """A table of name and value."""
    body = "".join(f"<tr><th>{escape(name)}<td>{show(value)}" for name, value in rows)
    return f'<table class="facts">{body}</table>'


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; a cell that is ``Html`` is taken as it is."""
    body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
    return (
        f"<table><tr>{''.join(f'<th>{escape(name)}' for name in head)}</tr>{body}</table>" if body else "<p>None.</p>"
    )


def bar(value: str, widest: float, sign: str = "+") -> Html:
    """A number with a bar beside it, brown where it is negative; ``sign`` "-" shows only the minus."""
    number = float(value)
    width = round(120 * abs(number) / widest) if widest else 0
    side = " down" if number < 0 else ""
    return Html(f'{number:{sign}.3f} <span class="bar{side}" style="width:{width}px"></span>')


def seoul(ts: str | None) -> Html:
    """``2026-04-15 14:37:00 KST`` of a stored UTC time."""
    if ts is None:
        return Html(UNKNOWN)
    return Html(f"{datetime.fromisoformat(ts).astimezone(SEOUL):%Y-%m-%d %H:%M:%S} KST")


def bullets(lines: Iterable[str], otherwise: str) -> str:
    """A list, or what to say when there is nothing in it."""
    items = "".join(f"<li>{escape(line)}" for line in lines)
    return f"<ul>{items}</ul>" if items else f"<p>{escape(otherwise)}</p>"


def document(title: str, body: str) -> str:
    """One self-contained page: no script, no network."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _cell(value: Any) -> str:
    number = isinstance(value, int) and not isinstance(value, bool)
    return f'<td class="n">{value}' if number else f"<td>{show(value)}"


def _is_digest(text: str) -> bool:
    return len(text) >= 32 and " " not in text and text.isascii()
