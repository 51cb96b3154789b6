"""Everybody's answers at once are the function's own answers, all recorded, and published by whole ranges."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline_lib.audit import session
from pipeline_lib.errors import AppendFailed, ContractError, RequestRefused, SettingsError
from pipeline_lib.keys import KeyFolder, subject_ref
from pipeline_lib.publish.targets.local_target import LocalTarget
from pipeline_lib.registry import versions
from pipeline_lib.runs import RunContext
from pipeline_lib.serve import everyone, local
from pipeline_lib.serve.decide import decide


@pytest.fixture
def night(own_bank: RunContext, tmp_path: Path) -> RunContext:
    """A released bank of 240 customers whose ranges hold 100 and whose segments hold 30 answers."""
    place, version = own_bank.settings.place, own_bank.read("package").facts["version"]
    target = LocalTarget.at(place.target.removeprefix("file://"))
    target.publish(versions.load(own_bank.objects, KeyFolder(place.keys), version, tmp_path / "copy"))
    target.shift(version)
    batch = own_bank.settings.serving.batch.model_copy(update={"range_customers": 100, "segment_answers": 30})
    serving = own_bank.settings.serving.model_copy(update={"batch": batch})
    return replace(own_bank, settings=own_bank.settings.model_copy(update={"serving": serving}))


def all_ranges(ctx: RunContext) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(answers, scores) of a whole night."""
    everyone.plan(ctx)
    parts = [everyone.score_range(ctx, number) for number in everyone.range_numbers(ctx)]
    everyone.close(ctx)
    return tuple(pl.concat(pl.read_parquet(part.path(f"{name}.parquet")) for part in parts)
                 for name in ("answers", "scores"))  # type: ignore[return-value]  # fmt: skip


def tables(ctx: RunContext) -> Path:
    return local.tables_folder(ctx.settings)


def write(ctx: RunContext, sql: str, *values: Any) -> None:
    with closing(sqlite3.connect(tables(ctx) / "state.sqlite")) as database, database:
        database.execute(sql, values)


def test_stored_answers_are_the_functions_answers(night: RunContext) -> None:
    pepper = KeyFolder(night.settings.place.keys).pepper()
    for i in range(1, 41):  # a tolerance each, so that there is something to recommend
        local.assess(night.settings, f"c{i}", 1 + i % 5, night.logical_date, "ann")
    answers, scores = all_ranges(night)
    service = local.open_local(night.settings)
    compared = 0
    for i in range(1, 41):
        body = local.ask(service, local.sample_request(f"c{i}", night.logical_date))
        subject = subject_ref(pepper, f"c{i}")
        own = answers.row(by_predicate=pl.col("subject_ref") == subject, named=True)
        assert [item["item_id"] for item in own["items"]] == [item["item_id"] for item in body["items"]]
        assert [item["score"] for item in own["items"]] == [item["score"] for item in body["items"]]
        assert [item["reason"] for item in own["items"]] == [item["reason"]["text"] for item in body["items"]]
        assert (own["status"], own["review_tier"]) == (body["status"], body["review"]["tier"])
        for task in scores.filter(pl.col("subject_ref") == subject).iter_rows(named=True):
            told = body["tasks"][task["task"]]
            served = told.get("value", told["calibrated"])
            assert task["values"] == ([] if served is None else served if isinstance(served, list) else [served])
            assert (task["layer"], task["layer_reason"]) == (told["layer"], told["layer_reason"])
            compared += 1
        assert not own["items"] or own["items"][0]["rank"] == 1
    assert compared == 40 * scores["task"].n_unique()
    assert answers["items"].list.len().sum() > 0


def test_everybody_is_answered_once_and_every_answer_is_in_the_record(night: RunContext) -> None:
    answers, scores = all_ranges(night)
    assert answers["subject_ref"].is_sorted()
    assert answers["subject_ref"].n_unique() == answers.height == 240
    assert scores.height == 240 * 13
    session.commit(night.settings)
    report = session.verification(night.settings)
    assert report.verdict == "INTACT"
    writers = answers.select(pl.col("receipt").struct.unnest())
    assert writers["last_entry_hash"].n_unique() == 10  # 100, 100 and 40 customers in groups of at most 30
    assert (writers["last_seq"] - writers["first_seq"] + 1).to_list()[0] == 30 * 4


def test_opt_out_and_switch_are_read_for_everybody(night: RunContext) -> None:
    pepper = KeyFolder(night.settings.place.keys).pepper()
    write(night, "INSERT INTO optout VALUES (?, NULL, '2026-01-01')", subject_ref(pepper, "c7"))
    write(night, "INSERT INTO kill_switch VALUES ('k1', 'task', 'churn_signal', 'rule_based', 1, 1)")
    _, scores = all_ranges(night)
    out = scores.filter(pl.col("subject_ref") == subject_ref(pepper, "c7"))
    assert set(out["layer"]) == {3}
    assert set(out["layer_reason"]) == {"OPTED_OUT"}
    others = scores.filter(pl.col("subject_ref") != subject_ref(pepper, "c7"))
    assert set(others.filter(pl.col("task") == "churn_signal")["layer_reason"]) == {"SWITCH:k1"}
    assert 1 in set(others["layer"])


def test_a_range_whose_answers_cannot_be_recorded_is_not_published(
    night: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    everyone.plan(night)
    service, calls = local.open_local(night.settings), []

    def append(entries: Any) -> Any:
        calls.append(len(entries))
        if len(calls) == 3:
            raise AppendFailed("the disk is full")
        return service.append(entries)

    monkeypatch.setattr(local, "open_local", lambda settings: replace(service, append=append))
    with pytest.raises(AppendFailed, match="the disk is full"):
        everyone.score_range(night, 0)
    assert not night.has("everyone_part.0")
    assert everyone.score_range(night, 0).facts["customers"] == 100


@pytest.mark.parametrize(("static", "status", "tier"), [(True, "static_content", 1), (False, "NO_SAFE_ANSWER", None)])
@pytest.mark.parametrize("who", [{7}, set(range(240))], ids=["one", "all"])
def test_a_customer_without_a_decision_costs_nobody_else_theirs(
    night: RunContext, monkeypatch: pytest.MonkeyPatch, static: bool, status: str, tier: int | None, who: set[int]
) -> None:
    everyone.plan(night)
    subjects = everyone._subjects(night)
    lost = {subjects[number] for number in who}
    service = local.open_local(night.settings)
    service.policy = replace(service.policy, serving={**service.policy.serving, "static_content": static})

    def decided(policy: Any, request: Any, subject: str, *rest: Any) -> Any:
        if subject in lost:
            raise ValueError("neither models nor rules can")
        return decide(policy, request, subject, *rest)

    monkeypatch.setattr("pipeline_lib.serve.service.decide", decided)
    monkeypatch.setattr(local, "open_local", lambda settings: service)
    parts = [everyone.score_range(night, number) for number in everyone.range_numbers(night)]
    everyone.close(night)
    answers = pl.concat(pl.read_parquet(part.path("answers.parquet")) for part in parts)
    ours = pl.col("subject_ref").is_in(list(lost))
    assert answers.height == 240
    assert set(answers.filter(ours)["status"]) == {status}
    assert set(answers.filter(ours)["review_tier"]) == {tier}
    assert answers.filter(ours)["receipt"].is_null().all()
    assert not answers.filter(~ours)["receipt"].is_null().any()
    assert answers.filter(~ours)["prediction_id"].n_unique() == 240 - len(lost)
    if lost != set(subjects):
        session.commit(night.settings)
        assert session.verification(night.settings).verdict == "INTACT"


def test_a_release_in_between_stops_the_range(night: RunContext) -> None:
    everyone.plan(night)
    releases = Path(night.settings.place.target.removeprefix("file://"))
    live = (releases / "live.json").read_text()
    version = night.read("package").facts["version"]
    (releases / "live.json").write_text(live.replace(f'"folder":"{version}"', '"folder":"v20270101-00000000"'))
    with pytest.raises(RequestRefused, match=f"version {version} planned, v20270101-00000000 now; clear the plan"):
        everyone.score_range(night, 0)


def test_a_range_that_is_not_planned_is_refused_by_name(night: RunContext) -> None:
    everyone.plan(night)
    for number in ("3", "-1", "first"):
        with pytest.raises(RequestRefused, match=f"everyone_part.{number}: found no such range, expected 0 to 2"):
            everyone.score_range(night, number)


def test_nothing_released_is_no_empty_night(own_bank: RunContext) -> None:
    with pytest.raises(SettingsError, match="nothing is released here yet"):
        everyone.plan(own_bank)


def test_a_missing_customer_is_missed(night: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    everyone.plan(night)
    real = everyone._subjects
    monkeypatch.setattr(everyone, "_subjects", lambda ctx, *bounds: real(ctx, *bounds)[:-1])
    for number in everyone.range_numbers(night):
        everyone.score_range(night, number)
    with pytest.raises(ContractError, match="237 customers answered, 240 planned"):
        everyone.close(night)
