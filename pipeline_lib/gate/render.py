"""A verdict as a person reads it: the table of the approval form. Deterministic, no clock, nothing computed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from pipeline_lib.records import Decision

Body = Mapping[str, Any]
_REAL = re.compile(r"-?\d+(\.\d+)?")


def comparison_markdown(decision: Decision, why_dry: str | None = None) -> str:
    """Verdict, comparison, tests, fidelity, drift, logged traffic and path as Markdown.

    Args:
        why_dry: why this is a dry run, None when it is none.
    """
    body = decision.body
    parts = [
        _head(decision, why_dry),
        _comparison(body),
        _tests(body),
        _left_out(body),
        _fidelity(body),
        _drift(body),
        _counterfactual(body),
        _hooks(body),
        _path(body),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(decision: Decision, why_dry: str | None) -> str:
    lines = [
        f"**{decision.challenger_version}** against **{decision.champion_version or 'no champion'}**: "
        f"`{decision.decision}`",
        decision.reason,
    ]
    significance = decision.body.get("significance") or {}
    if why_dry:
        lines.append(f"**Dry run**, without effect: {why_dry}.")
    if significance.get("underpowered"):
        lines.append(f"**Underpowered**: only {significance['n']} customers were compared.")
    return "\n\n".join(lines)


def _comparison(body: Body) -> str:
    rows = body.get("comparison") or []
    cells = [
        [
            r["metric"],
            *(_real(r[name]) for name in ("champion", "challenger", "delta")),
            f"{_real(r['low'])} to {_real(r['high'])}" if r.get("low") else "unknown",
            _percent(r["relative"]),
            _percent(r["limit"]),
            "yes" if r["pass"] else "**no**",
            r.get("why") or "unknown",
        ]
        for r in rows
    ]
    head = ["metric", "champion", "challenger", "delta", "95 % interval", "relative gain", "limit", "within", "why"]
    return _table(head, cells) if rows else ""


def _tests(body: Body) -> str:
    found = body.get("significance") or {}
    if found.get("p") is None:
        return ""
    count = found.get("tests_this_year")
    said = (
        f"Primary test ({found['test']}, one-sided, alpha {_plain(found['alpha'])}): delta {_real(found['delta'])}, "
        f"SE {_real(found['se'])}, z = {_plain(found['z'], 3)}, p = {_plain(found['p'], 6)} on {found['n']} customers. "
        f"A true gain of {_real(found['detectable'])} ({_percent(found.get('detectable_relative'))}) would be found "
        f"in {_percent(found.get('power'), 0)} of cases."
    )
    if count is not None:
        said += f" Primary test number {count} of this year."
    return f"{said}\n\n{_harm(found['harm'])}"


def _harm(guards: Sequence[Mapping[str, Any]]) -> str:
    cells = [
        [g["task"], _real(g["delta"]), _real(g["se"]), _plain(g["z"], 3), _plain(g["p"], 6), _plain(g["p_adjusted"], 6)]
        for g in guards
    ]
    head = ["harm test", "worse by", "SE", "z", "p", "p adjusted (Holm)"]
    return _table(head, cells) if cells else ""


def _left_out(body: Body) -> str:
    """Tasks that were not compared, and why."""
    reasons = {
        "unpowered": "too little truth in these rows",
        "coverage_gain": "no model in the champion",
        "coverage_regression": "a model in the champion, rules now",
        "contract_changed": "type or classes differ",
        "by_rules": "answered by rules",
        "missing": "not in the package",
        "extra": "not a task of the policy, not served",
    }
    sets = body.get("task_sets") or {}
    said = [f"{', '.join(sets[name])} ({why})" for name, why in reasons.items() if sets.get(name)]
    return f"Not compared: {'; '.join(said)}." if said else ""


def _fidelity(body: Body) -> str:
    rows = body.get("fidelity") or []
    cells = [
        [
            r["task"],
            r["route"],
            r["verdict"],
            _real(r["kl"]),
            _plain(r["floor"]),
            "; ".join(
                f"{m['criterion']} {_plain(m['value'], 4)}, needs {m['sense']} {_plain(m['limit'], 4)}"
                for m in r.get("failing") or []
            )
            or "-",
        ]
        for r in rows
    ]
    return _table(["task", "route", "fidelity", "KL", "floor", "missed"], cells) if rows else ""


def _drift(body: Body) -> str:
    found = body.get("drift")
    if not found:
        return ""
    alerts = [f"- {_alert(alert)}" for alert in found.get("alerts") or []]
    unknown = [
        f"Drift against the {role}: unknown, {why}."
        for role, why in (("champion", found.get("why")), ("anchor", _anchor_why(found)))
        if why
    ]
    if found.get("why"):
        return " ".join(unknown)
    said = (
        "Drift raises no alert."
        if not alerts
        else f"Drift raises {len(alerts)} alert{'s' if len(alerts) > 1 else ''}; drift never blocks:"
    )
    return "\n\n".join([said, *(["\n".join(alerts)] if alerts else []), *unknown])


def _anchor_why(found: Mapping[str, Any]) -> str | None:
    why = found.get("anchor_why")
    return why if why or found.get("anchor") or found.get("why") else "there is none"


def _alert(alert: Any) -> str:
    """``champion, churn_signal: psi 0.31, limit 0.2``."""
    if not isinstance(alert, dict):
        return str(alert)
    about = ", ".join(str(alert[name]) for name in ("against", "task", "feature") if name in alert)
    return f"{about}: {alert['statistic']} {_plain(alert['value'])}, limit {_plain(alert['limit'])}"


def _counterfactual(body: Body) -> str:
    found = body.get("counterfactual")
    if not found:
        return ""
    mode = f" (mode {found['mode']})" if found.get("mode") else ""
    reason = f": {found['reason']}" if found.get("reason") else ""
    return f"On logged traffic{mode}: **{found['verdict']}**{reason}."


def _hooks(body: Body) -> str:
    cells = [[row["hook"], row["outcome"], row["code"], row["reason"]] for row in body.get("hooks") or []]
    return _table(["hook", "outcome", "code", "reason"], cells) if cells else ""


def _path(body: Body) -> str:
    steps = [[s["step"], s["outcome"], s["code"] or "-"] for s in body.get("gate_path") or []]
    return _table(["step", "outcome", "code"], steps) if steps else ""


def _table(head: list[str], rows: list[list[Any]]) -> str:
    lines = [head, ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return "unknown" if value is None else str(value).replace("|", "\\|").replace("\n", " ")


def _real(text: str | None) -> str:
    return "unknown" if text is None else f"{Decimal(text):.6f}"


def _percent(text: str | None, places: int = 2) -> str:
    return "unknown" if text is None else f"{Decimal(text):.{places}%}"


def _plain(value: Any, places: int | None = None) -> str:
    """A recorded real without trailing zeros, or cut to so many places; anything else as it is."""
    if value is None:
        return "unknown"
    if not _REAL.fullmatch(str(value)):
        return str(value)
    number = Decimal(str(value))
    return f"{number:.{places}f}" if places is not None else f"{number.normalize():f}"
