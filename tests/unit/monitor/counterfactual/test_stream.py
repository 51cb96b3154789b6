"""From a served answer to a verdict: the record, the replay by the serving code, the outcome feed, the stage."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline_lib import cli_counterfactual
from pipeline_lib.errors import RequestRefused, SchemaError
from pipeline_lib.monitor.counterfactual import logged, outcomes, page, stage
from pipeline_lib.runs import RunContext
from pipeline_lib.serve import replay
from tests.unit.monitor.counterfactual.conftest import (
    ANSWERS_EACH,
    REWARD_DAYS,
    Stream,
    accept,
    favourites,
    put,
    true_value,
)
from tests.unit.serve.conftest import CUSTOMERS


@pytest.fixture(scope="module")
def replayed(stream: Stream) -> replay.Replayed:
    """Both models on all answers, with a feed in which nobody accepted anything."""
    accept(stream, {})
    return replay.replay_rows(stream.run.objects, stream.settings, stream.roles, stream.log().answers)


def run_stages(stream: Stream) -> dict[str, Any]:
    ctx = stream.run
    ctx.produce("score", lambda out: out.facts.update(stream.roles))
    logged.log(ctx)
    replay.replay(ctx)
    found: dict[str, Any] = stage.compare(ctx).facts["summary"]
    return found


def test_the_record_gives_every_answer_back_with_its_candidates(stream: Stream) -> None:
    log = stream.log()
    assert log.answers.height == CUSTOMERS * ANSWERS_EACH
    usable = log.answers.filter(pl.col("state") == "usable")
    assert usable.height > 0.9 * log.answers.height
    for row in usable.head(50).iter_rows(named=True):
        assert sum(row["propensities"]) == pytest.approx(1, abs=1e-7)
        assert row["propensities"][row["items"].index(row["action"])] > 0
        assert len(row["items"]) == len(row["scores"]) == len(row["propensities"])
        assert {one["attribute"] for one in row["groups"]} >= {"gender", "age_band"}


def test_the_champions_replay_gives_its_logged_propensities_back(stream: Stream, replayed: replay.Replayed) -> None:
    assert replayed.counts["replayed"] == replayed.counts["asked"] > 600
    mu = stream.log().answers.explode("items", "propensities", empty_as_null=False)
    both = replayed.rows.join(
        mu.select("prediction_id", pl.col("items").alias("product_id"), "propensities"),
        on=["prediction_id", "product_id"],
    )
    assert both.height == replayed.rows.height
    assert np.abs(both["champion"] - both["propensities"]).max() < 1e-8
    assert np.abs(both["challenger"] - both["propensities"]).max() > 0.1


@pytest.mark.parametrize(("liked", "verdict"), [("challenger", "BETTER"), ("champion", "WORSE")])
def test_the_model_whose_items_are_accepted_wins_and_the_lift_is_the_true_one(
    stream: Stream, replayed: replay.Replayed, liked: str, verdict: str
) -> None:
    favourite = favourites(replayed.rows, liked)
    accept(stream, favourite)
    found = run_stages(stream)
    assert found["verdict"] == verdict, found["reason"]
    truth = {role: true_value(replayed.rows, favourite, role) for role in stream.roles}
    lift = truth["challenger"] - truth["champion"]
    low, high = float(found["low"]), float(found["high"])
    # Which customers a resample draws depends on this bank's secret: two half-widths are four standard errors.
    assert abs((low + high) / 2 - lift) < high - low
    assert (found["answers"], found["unreproduced"]) == (replayed.counts["asked"], 0)
    assert found["log"]["accepted"] == found["accepted"]
    assert found["versions"] == stream.roles


def test_the_stage_writes_the_finding_for_people_and_for_the_gate(stream: Stream, replayed: replay.Replayed) -> None:
    accept(stream, favourites(replayed.rows, "challenger"))
    found = run_stages(stream)
    made = stream.run.read("counterfactual")
    body = json.loads(made.path("counterfactual.json").read_text())
    assert {k: v for k, v in body.items() if k != "groups"} == found
    assert len(body["groups"]) > len(found["fairness"]) > 0
    page = made.path("counterfactual.md").read_text()
    assert page.startswith("# Counterfactual: BETTER")
    assert "seed 20260105" in page
    assert "| snips (decides) |" in page
    assert stage.compare(stream.run).content_hash == made.content_hash


def test_a_day_the_feed_lacks_leaves_outcomes_unknown_and_never_zero(stream: Stream) -> None:
    accept(stream, {}, but=frozenset({8}))
    log = stream.log()
    assert log.answers["reward"].null_count() == log.answers.height
    assert "covers the 14 days after no answer" in str(log.why_not)


def test_without_a_feed_the_question_is_unavailable(stream: Stream) -> None:
    accept(stream, {}, but=frozenset(range(REWARD_DAYS + 5)))
    found = run_stages(stream)
    assert (found["verdict"], found["estimates"]) == ("UNAVAILABLE", {})
    assert "no outcome feed: outcomes/synthetic/<day>.parquet" in found["reason"]
    assert {one["about"].split(":")[0] for one in found["fairness"]} == {"shown"}


def test_an_acceptance_counts_for_what_was_shown_and_for_14_days(stream: Stream) -> None:
    accept(stream, {})
    one, late, other = stream.log().answers.filter(pl.col("state") == "usable").head(3).iter_rows(named=True)
    rows = [
        (one["prediction_id"], one["action"], one["served_at"] + timedelta(days=14) - timedelta(seconds=1)),
        (late["prediction_id"], late["action"], late["served_at"] + timedelta(days=14)),
        (other["prediction_id"], "another item", other["served_at"] + timedelta(days=1)),
        ("a stranger", one["action"], one["served_at"]),
    ]
    table = pl.DataFrame(rows, schema=outcomes.EMPTY.schema, orient="row")
    for day in {at.date() for _, _, at in rows}:
        put(stream, f"outcomes/synthetic/{day}.parquet", table.filter(pl.col("accepted_at").dt.date() == day), False)
    got = {row["prediction_id"]: row["reward"] for row in stream.log().answers.iter_rows(named=True)}
    assert [got[row["prediction_id"]] for row in (one, late, other)] == [1, 0, 0]


def test_a_feed_of_another_form_is_refused_as_a_whole_naming_file_and_column(stream: Stream) -> None:
    day = stream.window.until.date()
    put(stream, f"outcomes/synthetic/{day}.parquet", pl.DataFrame({"prediction_id": ["p"]}), False)
    with pytest.raises(SchemaError, match=rf"{day}.parquet: columns \['product_id', 'accepted_at'\] are missing"):
        outcomes.read(stream.run.objects, "synthetic", day, day)
    wrong = pl.DataFrame({"prediction_id": ["p"], "product_id": ["a"], "accepted_at": ["yesterday"]})
    put(stream, f"outcomes/synthetic/{day}.parquet", wrong, False)
    log = stream.log()
    assert f"the outcome feed cannot be read: outcomes/synthetic/{day}.parquet: accepted_at is String" in str(
        log.why_not
    )
    assert log.answers["reward"].null_count() == log.answers.height
    stream.run.objects.put(f"outcomes/synthetic/{day}.parquet", b"no table")
    assert "not a Parquet file" in str(stream.log().why_not)
    put(stream, f"outcomes/synthetic/{day}.parquet", wrong, True)


def changed(stream: Stream, **policy: Any) -> Stream:
    """The same answers under another policy."""
    wanted = stream.settings.promotion.counterfactual.model_copy(update=policy)
    promotion = stream.settings.promotion.model_copy(update={"counterfactual": wanted})
    settings = stream.settings.model_copy(update={"promotion": promotion})
    settings.__dict__.pop("config_hash", None)
    return Stream(settings, stream.champion, stream.challenger, RunContext.open(settings, stream.run.logical_date))


def test_switched_off_nothing_is_read_and_the_gate_is_told(stream: Stream) -> None:
    found = run_stages(changed(stream, mode="off"))
    assert (found["verdict"], found["reason"]) == ("UNAVAILABLE", "promotion.counterfactual.mode is off")
    assert found["log"]["answers"] == 0


def test_a_bank_that_serves_nothing_has_no_champion_to_compare_with(stream: Stream) -> None:
    alone = Stream(stream.settings, "", stream.challenger, stream.run)
    roles: Mapping[str, Any] = {"champion": None, "challenger": stream.challenger}
    found = stage.find(stream.settings, alone.log().answers, pl.DataFrame(schema=replay.SCHEMA), roles, None)
    assert (found.verdict, "nothing serves yet" in found.reason) == ("UNAVAILABLE", True)


def test_a_feature_row_that_no_run_has_any_more_is_counted_and_not_guessed(stream: Stream) -> None:
    accept(stream, {})
    asked = (
        stream.log()
        .answers.head(40)
        .with_columns(
            feature_hash=pl.when(pl.int_range(pl.len()) < 10).then(pl.lit("0" * 64)).otherwise("feature_hash")
        )
    )
    counts = replay.replay_rows(stream.run.objects, stream.settings, stream.roles, asked).counts
    assert counts["context_gone"] == asked.head(10).filter(pl.col("state") == "usable").height > 0
    assert counts["replayed"] == counts["asked"] - counts["context_gone"]


def test_on_call_compares_two_versions_over_any_days(stream: Stream) -> None:
    accept(stream, {})
    asked = argparse.Namespace(**stream.roles, since=None, until=stream.window.until.date(), json=True)
    body = cli_counterfactual.compare(stream.settings, asked)
    assert (body["versions"], body["log"]["answers"]) == (stream.roles, CUSTOMERS * ANSWERS_EACH)
    assert body["verdict"] in {"BETTER", "WORSE", "INCONCLUSIVE"}
    assert page.text(body).startswith(f"# Counterfactual: {body['verdict']}")
    backwards = argparse.Namespace(**vars(asked) | {"since": stream.window.until.date()})
    with pytest.raises(RequestRefused, match="is not before"):
        cli_counterfactual.compare(stream.settings, backwards)
    unnamed = argparse.Namespace(**vars(asked) | {"champion": None})
    with pytest.raises(RequestRefused, match="nothing serves yet"):
        cli_counterfactual.compare(stream.settings, unnamed)


def test_more_answers_than_the_policy_allows_are_sampled_the_same_way_twice(stream: Stream) -> None:
    accept(stream, {})
    rules = stream.settings.monitoring.counterfactual.model_copy(update={"max_answers": 100})
    monitoring = stream.settings.monitoring.model_copy(update={"counterfactual": rules})
    settings = stream.settings.model_copy(update={"monitoring": monitoring})
    one, other = (logged.read(stream.run.objects, settings, stream.window).answers for _ in range(2))
    assert one.equals(other)
    assert one.filter(pl.col("state") == "usable").height == 100
