"""What other stages found out about a challenger reaches the verdict, the page, and only in veto mode the decision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline_lib.records import Decision
from tests.unit.gate.promotion_world import World
from tests.unit.gate.scenario import advise, judged

ALERT = {"against": "champion", "task": "churn_signal", "statistic": "psi", "value": 0.31, "limit": 0.2}


def challenged(world: World, tmp: Path, mode: str = "advisory") -> World:
    world.bootstrap(tmp)
    world.challenge(tmp)
    policy = world.settings.promotion.counterfactual.model_copy(update={"mode": mode})
    return world.with_policy(counterfactual=policy)


def page_of(world: World) -> str:
    return world.ctx.read("gate").path("comparison.md").read_text()


def test_drift_is_in_the_verdict_and_never_blocks(world: World, tmp_path: Path) -> None:
    asked = challenged(world, tmp_path)
    advise(asked, "drift", alerts=[ALERT], champion={"churn_signal": {"psi": 0.31}}, anchor=None, why=None)
    decision = judged(asked)
    assert decision.decision == "await_signoff"
    assert decision.body["drift"]["alerts"] == [{**ALERT, "value": "0.310000000", "limit": "0.200000000"}]
    text = page_of(asked)
    assert "Drift raises 1 alert; drift never blocks:" in text
    assert "- champion, churn_signal: psi 0.31, limit 0.2" in text
    assert "Drift against the anchor: unknown, there is none." in text
    assert asked.ctx.read("gate").manifest.inputs["drift"] == asked.ctx.read("drift").content_hash


@pytest.mark.parametrize(
    ("summary", "said"),
    [
        ({"alerts": [], "champion": {}, "anchor": {"a": 1}, "why": None}, "Drift raises no alert."),
        ({"alerts": ["one alert"], "champion": {}, "anchor": None, "why": None}, "- one alert"),
        (
            {"alerts": [], "champion": None, "anchor": None, "why": "nothing was served before"},
            "Drift against the champion: unknown, nothing was served before.",
        ),
    ],
    ids=["none", "in words", "unknown"],
)
def test_drift_reads_as_words(world: World, tmp_path: Path, summary: dict[str, Any], said: str) -> None:
    asked = challenged(world, tmp_path)
    advise(asked, "drift", **summary)
    judged(asked)
    assert said in page_of(asked)


def test_what_nobody_looked_at_is_unknown(world: World, tmp_path: Path) -> None:
    asked = challenged(world, tmp_path)
    decision = judged(asked)
    assert decision.body["drift"] == {"why": "no drift was measured for this challenger"}
    assert decision.body["counterfactual"]["verdict"] == "UNAVAILABLE"
    assert decision.decision == "await_signoff"
    assert "Drift against the champion: unknown, no drift was measured" in page_of(asked)
    assert "On logged traffic (mode advisory): **UNAVAILABLE**" in page_of(asked)


def test_advice_about_other_scores_is_none(world: World, tmp_path: Path) -> None:
    asked = challenged(world, tmp_path)
    advise(asked, "drift", alerts=[ALERT], champion={}, anchor=None, why=None)
    advise(asked, "counterfactual", verdict="WORSE", reason="of other scores")
    asked.ctx.produce("score", rescored(asked), [asked.ctx.read("package")], {"again": "yes"})
    decision = judged(asked)
    assert decision.body["drift"] == {"why": "no drift was measured for this challenger"}
    assert decision.body["counterfactual"]["verdict"] == "UNAVAILABLE"


def test_advice_about_other_versions_is_none(world: World, tmp_path: Path) -> None:
    """A stage between may hide which scores it was made from; the versions it names do not."""
    asked = challenged(world, tmp_path, "veto")
    names = {"challenger": asked.ctx.read("package").facts["version"], "champion": asked.seen.version}
    advise(asked, "counterfactual", verdict="WORSE", reason="of these two", **names)
    assert judged(asked).reason_code == "COUNTERFACTUAL_VETO"
    asked.challenge(tmp_path)
    advise(asked, "counterfactual", verdict="WORSE", reason="of last week's", **names)
    advise(asked, "drift", alerts=[], champion={}, anchor={}, why=None, versions=names)
    decision = judged(asked)
    assert decision.reason_code == "COUNTERFACTUAL_UNAVAILABLE"
    assert decision.body["drift"] == {"why": "no drift was measured for this challenger"}


def rescored(world: World) -> Any:
    """The same scores from another run of the stage: other bytes, hence another content hash."""
    before = world.ctx.read("score")
    tables = {name: pl.read_parquet(before.path(name)) for name in before.names()}

    def make(out: Any) -> None:
        for name, table in tables.items():
            table.write_parquet(out.path(name), compression="uncompressed")
        out.facts |= dict(before.facts)

    return make


@pytest.mark.parametrize(
    ("mode", "verdict", "decision", "code"),
    [
        ("advisory", "WORSE", "await_signoff", "PASSED"),
        ("veto", "WORSE", "reject", "COUNTERFACTUAL_VETO"),
        ("veto", "BETTER", "await_signoff", "PASSED"),
        ("veto", "INCONCLUSIVE", "await_signoff", "PASSED"),
        ("veto", "INSUFFICIENT_SUPPORT", "await_signoff", "PASSED"),
        ("veto", "UNSTABLE", "await_signoff", "PASSED"),
        ("veto", "UNAVAILABLE", "await_signoff", "PASSED"),
        ("veto", None, "await_signoff", "COUNTERFACTUAL_UNAVAILABLE"),
        ("advisory", None, "await_signoff", "PASSED"),
        ("off", "WORSE", "await_signoff", "PASSED"),
    ],
)
def test_only_worse_in_veto_mode_rejects(
    world: World, tmp_path: Path, mode: str, verdict: str | None, decision: str, code: str
) -> None:
    asked = challenged(world, tmp_path, mode)
    if verdict is not None:
        advise(asked, "counterfactual", verdict=verdict, reason="as found", lift=-0.02, ess=1200)
    found: Decision = judged(asked)
    assert (found.decision, found.reason_code) == (decision, code)
    column = found.body["counterfactual"]
    assert column["mode"] == mode
    assert mode == "off" or verdict is None or (column["verdict"], column["lift"]) == (verdict, "-0.020000000")
    hooks = {row["hook"]: row for row in found.body["hooks"]}
    assert (mode == "off") == ("counterfactual" not in hooks)


def test_silence_under_a_veto_is_left_to_a_human_even_where_promotion_is_automatic(
    world: World, tmp_path: Path
) -> None:
    """A stage that did not run must not be the way around it."""
    asked = challenged(world, tmp_path, "veto").with_policy(auto_promote=True)
    assert judged(asked).decision == "await_signoff"
