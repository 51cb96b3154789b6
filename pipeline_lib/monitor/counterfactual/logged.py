"""The answers of a window as the record has them, each with the propensities of its candidates and its reward.

Only rows under a checkpoint are seen, as in every monitor. An answer whose rank 1 was taken and not drawn is kept and
marked: it is counted, and never given a propensity. Source: promotion.md 10; audit.md 5.3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import duckdb
import polars as pl

from pipeline_lib import sql
from pipeline_lib.audit import query
from pipeline_lib.business_time import SEOUL
from pipeline_lib.canonical import digest
from pipeline_lib.errors import SchemaError
from pipeline_lib.monitor.counterfactual import outcomes
from pipeline_lib.monitor.counterfactual.outcomes import Outcomes
from pipeline_lib.objects import Objects
from pipeline_lib.runs import Out, RunContext, StageOutput
from pipeline_lib.settings import Settings

TABLE = "logged.parquet"
OFF = "promotion.counterfactual.mode is off"
STATES = (
    "usable", "not_drawn", "by_rules", "not_delivered", "first_withheld", "bad_propensity", "no_propensity",
    "not_sampled",
)  # fmt: skip
"""What each means: ``sql/monitor/logged_answers.sql``."""


@dataclass(frozen=True)
class Window:
    """Answers served in [since, until), with time zones."""

    since: datetime
    until: datetime

    @classmethod
    def before(cls, day: date, settings: Settings) -> Window:
        """The window of a run: it ends as long before the run as a reward takes to be known."""
        rules = settings.monitoring.counterfactual
        until = datetime(day.year, day.month, day.day, tzinfo=SEOUL) - timedelta(days=rules.reward_days)
        return cls(until - timedelta(days=rules.window_days), until)

    def to_dict(self) -> dict[str, str]:
        return {"since": _text(self.since), "until": _text(self.until)}


@dataclass(frozen=True)
class Log:
    """One window of the record with what became of it."""

    window: Window
    answers: pl.DataFrame
    """Columns of ``logged.parquet`` (docs/artefacts.md)."""
    outcomes: Outcomes
    why_not: str | None
    """Why no model can be judged on it, in words; None when there is something to judge on."""

    def facts(self) -> dict[str, Any]:
        states = Counter(self.answers["state"].to_list())
        known = self.answers.filter(pl.col("reward").is_not_null())
        usable = self.answers.filter(pl.col("state") == "usable")
        return {
            "why": self.why_not,
            "window": self.window.to_dict(),
            "answers": self.answers.height,
            "states": {state: states[state] for state in STATES},
            "versions": dict(sorted(Counter(usable["model_version"].to_list()).items())),
            "outcome_days": len(self.outcomes.days),
            "rewards_known": known.height,
            "accepted": int(known["reward"].sum()),
        }


def log(ctx: RunContext) -> StageOutput:
    """Stage ``logged``: the window before this run."""
    window = Window.before(ctx.logical_date, ctx.settings)
    frames = _frames(ctx.settings, window)
    found = _outcomes(ctx.objects, ctx.settings, window)
    sources = {
        "record": digest({**window.to_dict(), **{name: _identity(frame) for name, frame in frames.items()}}),
        "outcomes": digest({**found.digests, "refused": found.refused}),
    }
    return ctx.produce("logged", partial(_make, ctx, window, frames, found), sources=sources)


def read(objects: Objects, settings: Settings, window: Window) -> Log:
    """Any window, for an incident."""
    return _log(settings, window, _frames(settings, window), _outcomes(objects, settings, window))


def _make(ctx: RunContext, window: Window, frames: Mapping[str, pl.DataFrame], found: Outcomes, out: Out) -> None:
    made = _log(ctx.settings, window, frames, found)
    made.answers.write_parquet(out.path(TABLE, rows=made.answers.height), compression="zstd")
    out.facts.update(made.facts())


def _log(settings: Settings, window: Window, frames: Mapping[str, pl.DataFrame], found: Outcomes) -> Log:
    rules = settings.monitoring.counterfactual
    with duckdb.connect(config={"threads": settings.place.threads}) as db:
        for name, frame in frames.items():
            db.register(name, frame.to_arrow())
        db.register("outcome", found.accepted.to_arrow())
        db.register("outcome_day", pl.DataFrame({"day": found.days}, schema={"day": pl.Date}).to_arrow())
        given = {"reward_days": rules.reward_days, "max_answers": rules.max_answers}
        rows = db.sql(sql.load("monitor/logged_answers").text, params=given).to_arrow_table()
    answers = pl.DataFrame(rows)
    return Log(window, answers, found, _why_not(settings, window, answers, found))


def _why_not(settings: Settings, window: Window, answers: pl.DataFrame, found: Outcomes) -> str | None:
    """The first thing that is missing."""
    states = Counter(answers["state"].to_list())
    between = f"between {window.since:%Y-%m-%d} and {window.until:%Y-%m-%d}"
    if settings.promotion.counterfactual.mode == "off":
        return OFF
    if not answers.height:
        return f"the record has no answer {between}"
    told = ", ".join(f"{states[state]} {state}" for state in STATES if states[state])
    if states["not_drawn"] + states["no_propensity"] and not states["usable"]:
        return (
            f"deterministic log: rank 1 was drawn in none of {answers.height} answers {between} ({told}; "
            "serving.exploration.epsilon), so every propensity is 0 or 1 and says nothing about another model"
        )
    if not states["usable"]:
        return f"none of {answers.height} answers {between} can be used: {told}"
    if found.refused is not None:
        return f"the outcome feed cannot be read: {found.refused}"
    if not found.days:
        return f"no outcome feed: outcomes/{settings.source.name}/<day>.parquet does not exist {between} or after"
    if answers.filter(pl.col("state") == "usable", pl.col("reward").is_not_null()).is_empty():
        days = settings.monitoring.counterfactual.reward_days
        return f"the outcome feed has {len(found.days)} days and covers the {days} days after no answer {between}"
    return None


def _frames(settings: Settings, window: Window) -> dict[str, pl.DataFrame]:
    """The record's rows of the window; none are read when nobody asks."""
    if settings.promotion.counterfactual.mode == "off":
        window = Window(window.until, window.until)
    predictions = query.frame(settings, "log_model_inference", since=window.since)
    predictions = predictions.filter(pl.col("ts") < _text(window.until))
    guarded = query.frame(settings, "log_guardrail", since=window.since)
    guarded = guarded.join(predictions.select("prediction_id"), on="prediction_id", how="semi", maintain_order="left")
    return {"log_model_inference": predictions, "log_guardrail": guarded}


def _outcomes(objects: Objects, settings: Settings, window: Window) -> Outcomes:
    last = window.until + timedelta(days=settings.monitoring.counterfactual.reward_days)
    days = window.since.astimezone(UTC).date(), last.astimezone(UTC).date()
    try:
        return outcomes.read(objects, settings.source.name, *days)
    except SchemaError as error:
        return Outcomes(outcomes.EMPTY, (), {}, str(error))


def _identity(frame: pl.DataFrame) -> str:
    """The rows of a frame, in the order of the record."""
    return digest(frame["entry_hash"].to_list())


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
