"""The same small bank as at the gate, with served answers and a night of oversight behind it."""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from pipeline_lib.audit import session
from pipeline_lib.business_time import quarter_bounds, quarter_label, run_date, utc_now
from pipeline_lib.comply import quarterly, reports
from pipeline_lib.monitor import drift, fairness
from pipeline_lib.oversee import checklist
from pipeline_lib.runs import RunContext
from pipeline_lib.settings import Settings
from tests.unit.gate.promotion_world import World
from tests.unit.monitor.answers import Answer, serve

KINDS = sorted(module.name for module in pkgutil.iter_modules(reports.__path__))
"""Every report there is, found by listing the package."""
ANSWERS = 30
STRANGER = "v20200106-00000000"


@dataclass
class Bank:
    settings: Settings

    @property
    def world(self) -> World:
        return World(self.settings)

    @property
    def ctx(self) -> RunContext:
        """A run on the first days of the next quarter: the quarter that ended is the one of now."""
        _, end = quarter_bounds(quarter_label(run_date(utc_now())))
        return RunContext.open(self.settings, run_date(end) + timedelta(days=1))

    def freeze(self) -> dict[str, Any]:
        return quarterly.freeze(self.ctx)

    def bytes_of(self, result: Mapping[str, Any]) -> bytes:
        return self.ctx.objects.get(f"{result['folder']}/body.json")

    def report(self, kind: str, frozen: Mapping[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(self.bytes_of(quarterly.generate(self.ctx, kind, frozen)))
        return made

    def rows(self, event: str) -> list[session.StoredRow]:
        return [row for row in session.rows(self.settings) if row.header["event"] == event]


def live(world: World, tmp: Path) -> None:
    """Two releases with answers of each, four answers that are not as they should be, and one night."""
    settings, config = world.settings, world.settings.config_hash
    first = world.bootstrap(tmp)
    serve(settings, [Answer(f"c{n}", first, config) for n in range(ANSWERS)])
    second = world.promote(tmp)
    people = [Answer(f"c{n}", second, config, groups={"gender": "MF"[n % 2]}) for n in range(ANSWERS)]
    odd = [
        Answer("by rules", second, config, layer=3),
        Answer("opted out", second, config, opt_out="out"),
        Answer("nobody promoted it", STRANGER, config),
        Answer("nothing offered, no teller", second, config, offered=False, operator=None),
    ]
    serve(settings, people + odd)
    night(settings)


def night(settings: Settings) -> None:
    session.commit(settings)
    session.verify_record(settings)
    checklist.nightly(settings, [*drift.nightly(settings), *fairness.nightly(settings)])
    session.commit(settings)


def number(made: Mapping[str, Any], item_id: str, name: str) -> dict[str, Any]:
    (item,) = (one for one in made["items"] if one["id"] == item_id)
    (found,) = (one for one in item["numbers"] if one["name"] == name)
    return dict(found)
