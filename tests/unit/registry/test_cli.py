"""``pipeline registry``: the same functions, typed by the person who is signed in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib import cli, cli_person, settings
from pipeline_lib.registry import pointer
from pipeline_lib.serve import probe
from tests.unit.gate.promotion_world import World

REASON = "the pointer object was lost, see INC-1"


@pytest.fixture
def typed(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setattr(settings, "load", lambda: world.settings)
    monkeypatch.setattr(cli_person, "person", lambda: "on.call")
    monkeypatch.setattr(probe, "answers", lambda _: None)

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        code = cli.main(["registry", *arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


BY = ("--operator", "on.call", "--reason", REASON)


def test_on_call_finds_and_repairs_a_lost_pointer(world: World, tmp_path: Path, typed: Any) -> None:
    version = world.bootstrap(tmp_path)
    assert typed("check")[0] == 0
    world.ctx.objects.delete(pointer.KEY)
    code, shown = typed("check")
    assert (code, "registry repair-pointer" in shown["message"]) == (3, True)
    code, shown = typed("repair-pointer", *BY)
    assert (code, shown["version"], shown["generation"]) == (0, version, 2)
    assert typed("reconcile") == (0, {"repaired": []})
    assert typed("check") == (0, {"champion": version, "generation": 2, "decision_id": shown["decision"]})


def test_a_version_is_marked_and_the_mark_lifted(world: World, tmp_path: Path, typed: Any) -> None:
    world.bootstrap(tmp_path)
    version = world.challenge(tmp_path)
    assert typed("quarantine", version, *BY)[1]["state"] == "quarantined"
    assert typed("lift", version, *BY)[1]["state"] == "registered"
    assert typed("lift", version, *BY)[0] == 2
    assert typed("rotate-key", "package", *BY)[0] == 0
    assert typed("check")[0] == 0


def test_nobody_types_in_another_name(world: World, tmp_path: Path, typed: Any) -> None:
    version = world.challenge(tmp_path)
    code, shown = typed("quarantine", version, "--operator", "mallory", "--reason", REASON)
    assert (code, "is not who is typing" in shown["message"]) == (2, True)
    assert world.state(version) == "registered"
