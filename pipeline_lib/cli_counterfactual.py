"""``pipeline counterfactual``: two versions on logged answers, for choosing where to roll back to in an incident.

The challenger may be any registered version, the former champion above all. Nothing is written and nothing changes.
Source: promotion.md sections 9 and 10; monitoring.md, incident timeline.
"""

from __future__ import annotations

import argparse
from datetime import date, datetime, timedelta
from typing import Any

from pipeline_lib.business_time import SEOUL, utc_now
from pipeline_lib.errors import RequestRefused
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import open_objects
from pipeline_lib.settings import Settings


def add(verbs: Any) -> argparse.ArgumentParser:
    text = "judge a version against another on logged answers: outcomes by weighting, what is shown by replay"
    made: argparse.ArgumentParser = verbs.add_parser("counterfactual", help=text, description=text)
    made.add_argument("--champion", help="what served; the champion when left out")
    made.add_argument("--challenger", required=True, help="what might have served, e.g. v20261109-7632e51c")
    made.add_argument("--since", type=date.fromisoformat, help="first day of the answers, Asia/Seoul")
    made.add_argument("--until", type=date.fromisoformat, help="day after the last; now when left out")
    made.add_argument("--json", action="store_true", help="one JSON object instead of a page")
    return made


def compare(settings: Settings, asked: argparse.Namespace) -> dict[str, Any]:
    """The finding as plain values.

    Raises:
        RequestRefused: nothing serves and no champion is named, or the days are in the wrong order.
        ObjectMissing, ManifestMismatch, SignatureInvalid: a version is not registered, or not as registered.
    """
    from pipeline_lib.monitor.counterfactual import logged, stage
    from pipeline_lib.serve import replay

    objects = open_objects(settings.place.root)
    roles = {"champion": asked.champion or _champion(settings), "challenger": asked.challenger}
    log = logged.read(objects, settings, _window(settings, asked))
    replayed = replay.replay_rows(objects, settings, roles, log.answers)
    found = stage.find(settings, log.answers, replayed.rows, roles, log.why_not)
    return stage.body(found, {"versions": roles, "log": log.facts(), "replay": replayed.counts})


def _champion(settings: Settings) -> str:
    from pipeline_lib.registry import pointer

    found = pointer.read(open_objects(settings.place.root), KeyFolder(settings.place.keys)).version
    if found is None:
        raise RequestRefused("nothing serves yet: name a --champion")
    return found


def _window(settings: Settings, asked: argparse.Namespace) -> Any:
    """By default the newest ``window_days``: what is shown is asked of today, outcomes of what is old enough."""
    from pipeline_lib.monitor.counterfactual.logged import Window

    until = _midnight(asked.until) if asked.until else utc_now()
    days = timedelta(days=settings.monitoring.counterfactual.window_days)
    since = _midnight(asked.since) if asked.since else until - days
    if since >= until:
        raise RequestRefused(f"--since {since:%Y-%m-%d} is not before --until {until:%Y-%m-%d}")
    return Window(since, until)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=SEOUL)
