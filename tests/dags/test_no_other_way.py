"""Airflow opens no second way to the champion: not an edited policy, not a parameter, not a hand on the folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib import settings

pytestmark = pytest.mark.filterwarnings("default")
CONFIG = settings.CONFIG


@pytest.fixture
def edited_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped policy in which somebody switched the human off."""
    folder = tmp_path / "config"
    shutil.copytree(CONFIG, folder)
    file = folder / "promotion.yaml"
    shipped = file.read_text()
    assert "auto_promote: false" in shipped
    file.write_text(shipped.replace("auto_promote: false", "auto_promote: true"))
    monkeypatch.setattr(settings, "CONFIG", folder)
    return folder


def load_dags() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(Path(__file__).resolve().parent.parent.parent / "dags")


def test_in_production_no_dag_starts_under_a_policy_that_promotes_alone(
    airflow_db: None, edited_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_dags().import_errors == {}  # on a laptop it may be tried
    monkeypatch.setenv("PIPELINE_ENV", "prod")
    bag = load_dags()
    red = {Path(path).stem for path in bag.import_errors}
    assert red >= {"force_promote", "nightly_oversight", "quarterly_compliance", "weekly_promotion"}
    assert all("auto_promote must be false in prod, found true" in error for error in bag.import_errors.values())
    assert bag.dags == {}


def test_no_form_of_the_web_page_offers_a_way_around_the_gate(bag: Any) -> None:
    """Every parameter is a field in the trigger form, open to whoever may trigger."""
    assert {name: sorted(dag.params) for name, dag in bag.dags.items() if dag.params} == {
        "force_promote": ["operator", "reason", "ticket", "version"],
        "weekly_promotion": ["promotable"],  # whether this run is judged for real; a verdict still waits for a human
    }


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_the_night_is_red_when_a_hand_moved_what_serves(world: Any, bank: Any, tmp_path: Path) -> None:
    first = world.bootstrap(tmp_path)
    second = world.promote(tmp_path)
    live = world.target.folder / "live.json"
    live.write_text(json.dumps(json.loads(live.read_bytes()) | {"version": first, "folder": first}))
    run = bank.run("nightly_oversight", world.monday)
    assert (run.state, bank.states(run)["verify_champion"]) == ("failed", "failed")
    (found,) = world.rows("registry_checked")
    assert f"serves {first}, the pointer names {second}" in found.payload["details"]["findings"][0]
