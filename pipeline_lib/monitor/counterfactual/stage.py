"""Stage ``counterfactual``: what the gate and people read about challenger and champion on logged answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import polars as pl

from pipeline_lib.canonical import with_decimals
from pipeline_lib.monitor.counterfactual import fairness, judge, page
from pipeline_lib.monitor.counterfactual.judge import Finding
from pipeline_lib.monitor.counterfactual.logged import OFF, TABLE
from pipeline_lib.monitor.counterfactual.trials import side_by_side
from pipeline_lib.runs import Out, RunContext, StageOutput
from pipeline_lib.settings import Settings

REPLAY = "replay.parquet"
HEADLINES: tuple[tuple[str, fairness.Metric], ...] = (
    ("acceptance", "DI"), ("acceptance", "SPD"), ("opportunity", "EOD"), ("shown:", "DI"), ("shown:", "SPD"),
)  # fmt: skip


def compare(ctx: RunContext) -> StageOutput:
    """Judge the challenger of stage ``score`` on the answers of stage ``logged``, replayed in stage ``replay``."""
    scored, logged, replay = (ctx.read(stage) for stage in ("score", "logged", "replay"))
    return ctx.produce("counterfactual", partial(_make, ctx.settings, logged, replay), [scored, logged, replay])


def find(
    settings: Settings, logged: pl.DataFrame, replayed: pl.DataFrame, roles: Mapping[str, Any], why_not: str | None
) -> Finding:
    """The finding about two versions.

    Args:
        logged, replayed: the two tables. roles: champion and challenger -> version, None where nothing serves.
        why_not: why outcomes cannot be judged on the log, if they cannot.
    """
    policy = settings.promotion.counterfactual
    if policy.mode == "off":
        return judge.unavailable(OFF)
    if roles["champion"] is None:
        return judge.unavailable("nothing serves yet: there is no champion to compare with")
    trials = side_by_side(logged, replayed, roles["champion"])
    return judge.judge(trials, policy, settings.monitoring, why_not)


def summary(found: Finding, about: Mapping[str, Any]) -> dict[str, Any]:
    """The finding as plain values: what is read first, and nothing that needs a table."""
    chosen = found.estimates.get(str(found.numbers.get("estimator")), {})
    worst = [
        (side, fairness.worst(list(found.fairness), side, subject, metric))
        for subject, metric in HEADLINES
        for side in ("champion", "challenger")
    ]
    plain: dict[str, Any] = with_decimals(
        {
            "verdict": found.verdict,
            "reason": found.reason,
            **about,
            **found.numbers,
            **{name: chosen.get(name) for name in ("lift", "low", "high")},
            "estimates": {name: dict(values) for name, values in found.estimates.items()},
            "support": {name: side.to_dict() for name, side in found.support.items()},
            "clipping": [dict(row) for row in found.clipping],
            "fairness": [one.to_dict() for _, one in worst if one is not None],
            "breaches": sum(one.state == "BREACH" for one in found.fairness),
        }
    )
    return plain


def body(found: Finding, about: Mapping[str, Any]) -> dict[str, Any]:
    """The whole finding: the summary and every comparison of groups."""
    plain: dict[str, Any] = {**summary(found, about), "groups": with_decimals([asdict(c) for c in found.fairness])}
    return plain


def _make(settings: Settings, logged: StageOutput, replay: StageOutput, out: Out) -> None:
    roles = {role: replay.facts[role] for role in ("champion", "challenger")}
    tables = pl.read_parquet(logged.path(TABLE)), pl.read_parquet(replay.path(REPLAY))
    found = find(settings, *tables, roles, logged.facts["why"])
    about = {
        "versions": roles,
        "log": dict(logged.facts),
        "replay": {k: v for k, v in replay.facts.items() if k not in roles},
    }
    out.path("counterfactual.json").write_text(json.dumps(body(found, about), indent=1, sort_keys=True) + "\n")
    out.path("counterfactual.md").write_text(page.text(body(found, about)))
    out.facts.update(summary=summary(found, about))
