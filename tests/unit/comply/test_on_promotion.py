"""Assessments of a new champion."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from pipeline_lib.audit import anchors, session
from pipeline_lib.comply import on_promotion
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import open_objects
from pipeline_lib.publish import release as releases
from pipeline_lib.settings import Settings
from tests.unit.comply.bank import Bank
from tests.unit.monitor.answers import Answer, serve


def bodies(bank: Bank, version: str) -> dict[str, dict[str, object]]:
    keys = [key for key in bank.ctx.objects.list("reports") if f"/{version}/" in key and key.endswith("body.json")]
    return {key.split("/")[1]: json.loads(bank.ctx.objects.get(key)) for key in keys}


def test_a_champion_is_assessed_once_whatever_is_recorded_later(own_bank: Bank) -> None:
    first = on_promotion.assess(own_bank.ctx)
    assert sorted(first) == sorted(on_promotion.KINDS)
    recorded = len(own_bank.rows("compliance_run"))
    serve(own_bank.settings, [Answer()])
    assert on_promotion.assess(own_bank.ctx) == first
    assert len(own_bank.rows("compliance_run")) == recorded == 3


def test_the_period_ends_with_the_checkpoint_that_was_frozen(own_bank: Bank) -> None:
    """Nothing in an assessment comes from a clock: its end is the time inside the signed note."""
    on_promotion.assess(own_bank.ctx)
    made = bodies(own_bank, own_bank.world.seen.version or "")
    place, keys = own_bank.settings.place, KeyFolder(own_bank.settings.place.keys)
    notes = anchors.history(open_objects(place.anchors), keys, session.origin(own_bank.settings))
    signed = {anchor.checkpoint.n: anchor.checkpoint for anchor in notes}
    assert sorted(made) == sorted(on_promotion.KINDS)
    for body in made.values():
        as_of, period = body["as_of"], body["period"]
        assert isinstance(as_of, dict)
        assert isinstance(period, dict)
        assert (period["to"], as_of["root"]) == (signed[as_of["ckpt_n"]].ts, signed[as_of["ckpt_n"]].root)
        length = datetime.fromisoformat(period["to"]) - datetime.fromisoformat(period["from"])
        assert length == timedelta(days=own_bank.settings.compliance.promotion_window_days)


def test_the_three_reports_see_the_same_record(own_bank: Bank) -> None:
    on_promotion.assess(own_bank.ctx)
    made = bodies(own_bank, own_bank.world.seen.version or "")
    assert len({json.dumps([body["as_of"], body["period"]]) for body in made.values()}) == 1


def test_a_forced_champion_is_assessed_anew(own_bank: Bank) -> None:
    before = on_promotion.assess(own_bank.ctx)
    previous = own_bank.world.seen.pointer.previous_version  # type: ignore[union-attr]
    assert previous is not None
    releases.release(own_bank.settings, *own_bank.world.force(previous, approver="second.person"))
    after = on_promotion.assess(own_bank.ctx)
    assert not set(before.values()) & set(after.values())
    items = {item["id"]: item for item in bodies(own_bank, previous)["annex_iv"]["items"]}  # type: ignore[attr-defined]
    shown = {one["name"]: one["value"] for one in items["A1"]["numbers"]}
    assert (shown["version"], shown["decision"]) == (previous, "force_promote")
    # The forced verdict names no data; an earlier verdict about the version does.
    assert [one["name"] for one in items["A9"]["numbers"]] == ["training snapshot hash"]


def test_nothing_served_is_nothing_to_assess(make_settings: Callable[[], Settings]) -> None:
    assert on_promotion.assess(Bank(make_settings()).ctx) == {}


def test_a_failure_is_recorded_and_leaves_the_champion(own_bank: Bank) -> None:
    serving = own_bank.world.seen
    folder = Path(own_bank.settings.place.audit.removeprefix("file://"))
    segment = max(folder.rglob("*.jsonl"), key=lambda path: path.stat().st_size)
    segment.chmod(0o644)
    segment.write_bytes(segment.read_bytes().replace(b'"optout_state":"in"', b'"optout_state":"??"', 1))
    results = on_promotion.assess(own_bank.ctx)
    assert set(results) == set(on_promotion.KINDS)
    assert all(result.startswith("failed: ") for result in results.values())
    assert own_bank.world.seen == serving
    failures = [path for path in folder.rglob("*.jsonl") if b"compliance_failed" in path.read_bytes()]
    assert len(failures) == len(on_promotion.KINDS)
    assert not bodies(own_bank, serving.version or "")
