"""Nothing but a recorded decision moves the champion: not the settings, not a hand, not a call without a receipt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline_lib import settings
from pipeline_lib.errors import AuditError, GateCannotJudge, PromotionUnrecorded, SettingsError
from pipeline_lib.publish import oversight
from pipeline_lib.publish import release as releases
from pipeline_lib.settings import Place
from tests.unit.gate.promotion_world import World


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, f"{path}.{name}" if path else str(name))
    else:
        yield path, value


def test_no_setting_names_a_version(world: World) -> None:
    """What serves is nobody's setting; the words below are about how it is chosen."""
    about = [name for name, _ in leaves(world.settings.promotion.model_dump() | world.settings.serving.model_dump())]
    named = [name for name in about if name.split(".")[-1] in {"champion", "version", "pointer", "serve", "live"}]
    assert named == []


def test_an_edited_policy_is_another_policy_and_moves_nothing(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    world.challenge(tmp_path)
    lax = world.with_policy(min_improvement=0.0, significance_level=0.49, max_kl=9.0)
    assert world.seen.version == first
    assert lax.judge()["decision"] == "await_signoff"  # and a person sees under which policy
    assert world.seen.version == first == world.target.serving()


def test_promoting_without_a_human_is_refused_in_production(tmp_path: Path) -> None:
    layer = tmp_path / "layer.yaml"
    layer.write_text(yaml.safe_dump({"promotion": {"auto_promote": True}}))
    with pytest.raises(SettingsError):
        settings.load("synthetic", Place.from_environment({"PIPELINE_ENV": "prod", "PIPELINE_OVERRIDES": str(layer)}))


def test_a_forged_receipt_releases_nothing(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    _, question = world.await_approval(tmp_path)
    stored = world.stored(world.approve(question).decision_id)
    forged = replace(stored.receipt, last_entry_hash="0" * 64)
    with pytest.raises(AuditError):
        releases.release(world.settings, stored.decision, forged)
    with pytest.raises(PromotionUnrecorded):
        releases.release(world.settings, replace(stored.decision, operator="mallory"), stored.receipt)
    assert world.seen.version == first == world.target.serving()


def test_an_alias_moved_by_hand_is_found_at_night_and_moved_back(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    second = world.promote(tmp_path)
    live = world.target.folder / "live.json"
    manifest = json.loads(live.read_bytes()) | {"version": first, "folder": first}
    live.write_text(json.dumps(manifest))
    with pytest.raises(GateCannotJudge, match=f"serves {first}, the pointer names {second}"):
        oversight.verify_champion(world.settings)
    assert releases.reconcile(world.settings) == [f"shifted local to {second}"]
    assert oversight.verify_champion(world.settings)["champion"] == second
