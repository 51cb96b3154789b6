"""Drift of served scores, from rows as the function writes them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline_lib.audit import session
from pipeline_lib.monitor import baseline, drift
from pipeline_lib.publish import release as releases
from tests.unit.gate.promotion_world import BINARY, CLASSES, REGRESSION, ROWS, Tweaks, World
from tests.unit.monitor.answers import Answer, serve
from tests.unit.monitor.conftest import ENOUGH

TASKS = {*BINARY, *CLASSES, *REGRESSION}


def scores_like(world: World, n: int, shift: float = 0.0) -> list[dict[str, float]]:
    """``n`` answers whose scores are spread as the champion's were, moved by ``shift``."""
    base = baseline.of_champion(world.settings).scores
    picked = {task: np.quantile(values, (np.arange(n) + 0.5) / n) + shift for task, values in base.items()}
    return [{task: float(values[i]) for task, values in picked.items()} for i in range(n)]


def answers(world: World, n: int, shift: float = 0.0, **known: Any) -> list[Answer]:
    version = world.seen.version or ""
    return [Answer(f"c{i}", version, scores=s, **known) for i, s in enumerate(scores_like(world, n, shift))]


def states(readings: list[dict[str, Any]]) -> dict[str, str]:
    """Of the scores; the features have a reading of their own."""
    return {str(one["about"]): str(one["state"]) for one in readings if one["about"] != "features"}


def test_the_baseline_is_what_the_champion_was_judged_on(small: World, tmp_path: Path) -> None:
    version = small.bootstrap(tmp_path)
    found = baseline.of_champion(small.settings)
    assert found.version == version
    assert found.scores.keys() == TASKS
    assert all(len(values) == ROWS for values in found.scores.values())
    assert found.bundle_digest in {stored["bundle_digest"] for stored in _bodies(small)}


def _bodies(world: World) -> list[dict[str, Any]]:
    return [row.payload for row in world.rows("promotion_decision")]


def test_a_task_without_a_model_has_no_baseline(small: World, tmp_path: Path) -> None:
    small.bootstrap(tmp_path, Tweaks(by_rules=("churn_signal",)))
    assert baseline.of_champion(small.settings).scores.keys() == TASKS - {"churn_signal"}


def test_a_version_forced_back_is_compared_with_what_it_was_judged_on(small: World, tmp_path: Path) -> None:
    first = small.bootstrap(tmp_path)
    before = baseline.of_champion(small.settings)
    small.promote(tmp_path)
    assert baseline.of_champion(small.settings).bundle_digest != before.bundle_digest
    releases.release(small.settings, *small.force(first, approver="second.person"))
    after = baseline.of_champion(small.settings)
    assert (after.version, after.bundle_digest) == (first, before.bundle_digest)


def test_scores_spread_as_before_are_ok(small: World, tmp_path: Path) -> None:
    small.bootstrap(tmp_path)
    serve(small.settings, answers(small, ENOUGH))
    assert states(drift.nightly(small.settings)) == dict.fromkeys(TASKS, "OK")


def test_moved_scores_fail_and_name_the_limit(small: World, tmp_path: Path) -> None:
    small.bootstrap(tmp_path)
    serve(small.settings, answers(small, ENOUGH, shift=1.0))
    readings = drift.nightly(small.settings)
    assert states(readings)["churn_signal"] == "FAIL"
    (churn,) = (one for one in readings if one["about"] == "churn_signal")
    assert str(churn["cause"]).startswith("psi ")
    assert str(churn["cause"]).endswith(">= 0.25")


def test_too_few_answers_are_unknown(small: World, tmp_path: Path) -> None:
    small.bootstrap(tmp_path)
    serve(small.settings, answers(small, ENOUGH - 1, shift=1.0))
    readings = drift.nightly(small.settings)
    assert set(states(readings).values()) == {"UNKNOWN"}
    assert f"{ENOUGH - 1} served" in str(readings[0]["cause"])


@pytest.mark.parametrize("known", [{"layer": 3}, {"version": "v20200106-00000000"}], ids=["rules", "other version"])
def test_answers_that_are_not_the_champions_models_do_not_count(
    small: World, tmp_path: Path, known: dict[str, Any]
) -> None:
    small.bootstrap(tmp_path)
    moved = [Answer(**{**vars(one), **known}) for one in answers(small, ENOUGH, shift=1.0)]
    serve(small.settings, [*answers(small, ENOUGH), *moved])
    assert set(states(drift.nightly(small.settings)).values()) == {"OK"}


def test_changed_evidence_is_no_baseline(small: World, tmp_path: Path) -> None:
    small.bootstrap(tmp_path)
    bundle = baseline.of_champion(small.settings).bundle_digest
    path = small.ctx.objects.local_path(f"registry/evidence/{bundle}/challenger.parquet")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    (reading, _) = drift.nightly(small.settings)
    assert reading["state"] == "UNKNOWN"
    assert "ManifestMismatch" in str(reading["cause"])


def test_a_bank_that_serves_nothing_is_unknown_and_the_row_says_why(small: World) -> None:
    readings = drift.nightly(small.settings)
    (row,) = small.rows("drift_window")
    assert states(readings) == {"all tasks": "UNKNOWN"}
    assert row.payload["details"]["readings"] == readings
    assert row.payload["details"]["readings"][0]["cause"] == "nothing is served"


def test_each_night_is_a_row_with_its_window(small: World, tmp_path: Path) -> None:
    version = small.bootstrap(tmp_path)
    serve(small.settings, answers(small, 3))
    drift.nightly(small.settings)
    drift.nightly(small.settings)
    rows = small.rows("drift_window")
    assert len(rows) == 2
    details = rows[0].payload["details"]
    assert (details["n"], details["model_version"]) == (3, version)
    assert details["last_leaf"] - details["first_leaf"] == 8  # three answers of four rows each
    assert details["as_of_ckpt"] == session.commit(small.settings)["ckpt_n"] - 1
