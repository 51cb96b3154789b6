"""Four past weeks, every stage of them: the same verdicts in any order, and nothing that serves is changed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import pipeline_context
from pipeline_lib import signing
from pipeline_lib.audit import session
from pipeline_lib.gate import decide
from pipeline_lib.keys import KeyFolder
from tests.unit.backfill.weeks import CHAMPION, WEEKS, open_week, outcome, serves

REPO = Path(__file__).resolve().parent.parent.parent
TINIER = REPO / "tests" / "assets" / "tinier.yaml"
STARVED = {"rounds": 2, "num_leaves": 3}
"""The champion's students are stopped at once, so that a later week's are better."""
RUN = """
import sys
from datetime import date
from pathlib import Path
from pipeline_lib import distill
from pipeline_lib.audit import session
from pipeline_lib.cli import _stage
from pipeline_lib.gate import decide
from pipeline_lib.monitor.counterfactual import logged, stage as counterfactual
from pipeline_lib.publish import release
from pipeline_lib.serve import replay
from tests.unit.backfill.weeks import open_week

mode, home, *days = sys.argv[1:]
for day in days:
    ctx = open_week(Path(home), date.fromisoformat(day))
    for name in ("ingest", "labels", "check_tables", "features", "check_features", "teacher"):
        _stage(name)(ctx)
        print(name, flush=True)
    for task in distill.active_tasks(ctx):
        distill.fit_student(ctx, task)
    for name in ("distill", "package", "check_scores", "score", "drift"):
        _stage(name)(ctx)
    logged.log(ctx)
    replay.replay(ctx)
    counterfactual.compare(ctx)
    decide.decide(ctx, mode)
    if mode == "evaluate":
        release.publish(ctx)
    session.commit(ctx.settings)
"""


def start(home: Path, days: Sequence[date], mode: str = "dry_run") -> subprocess.Popen[str]:
    """A process that runs these weeks one after the other."""
    return subprocess.Popen(
        [sys.executable, "-c", RUN, mode, str(home), *(day.isoformat() for day in days)],
        env={**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(*children: subprocess.Popen[str]) -> None:
    for child in children:
        _, errors = child.communicate(timeout=800)
        assert child.returncode == 0, errors[-3000:]


def killed_after(stage: str, child: subprocess.Popen[str]) -> None:
    """Killed as soon as it says that the stage is done."""
    assert child.stdout is not None
    assert any(line.strip() == stage for line in child.stdout), "it died by itself"
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank with a champion, five weeks ago."""
    home = tmp_path_factory.mktemp("served") / "bank"
    home.mkdir()
    policy = yaml.safe_load(TINIER.read_text())
    policy["distillation"]["lgbm"] |= STARVED
    (home / "policy.yaml").write_text(yaml.safe_dump(policy))
    settings = open_week(home, CHAMPION).settings
    keys = KeyFolder(settings.place.keys)
    keys.create_secrets(settings.audit.key_id)
    signing.create_keys(keys)
    finish(start(home, [CHAMPION], "evaluate"))
    (home / "policy.yaml").write_text(TINIER.read_text())
    return home


@pytest.fixture(scope="module")
def homes(served: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The bank after the backfill, by the order it was run in."""
    made = {name: tmp_path_factory.mktemp(name) / "bank" for name in ("in_order", "in_reverse", "in_parallel")}
    for home in made.values():
        shutil.copytree(served, home)
    finish(start(made["in_order"], WEEKS), start(made["in_reverse"], WEEKS[::-1]))
    together = made["in_parallel"]
    first, *others = (start(together, [day]) for day in WEEKS)
    killed_after("features", first)
    finish(start(together, WEEKS[:1]), *others)
    return made


@pytest.mark.e2e
@pytest.mark.timeout(1800)
def test_past_weeks_give_the_same_bytes_in_any_order(served: Path, homes: dict[str, Path]) -> None:
    found = {name: {day: outcome(home, day) for day in WEEKS} for name, home in homes.items()}
    assert found["in_reverse"] == found["in_order"]
    assert found["in_parallel"] == found["in_order"]
    for week in found["in_order"].values():
        (row,) = week["record"]
        assert (week["verdict"]["mode"], bool(row["details"]["comparison"])) == ("dry_run", True)
    was = serves(served)
    for home in homes.values():
        now = serves(home)
        assert now.pop("rows as of") == WEEKS[-1]
        assert now == {name: value for name, value in was.items() if name != "rows as of"}
        assert session.verification(open_week(home, WEEKS[0]).settings).verdict == "INTACT"


@pytest.fixture
def as_backfill(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of this process are those of a backfill, as ``airflow backfill create`` makes them."""
    from airflow.models import dagrun
    from airflow.utils.types import DagRunType

    create = dagrun.DagRun.__init__

    def made(self: Any, *arguments: Any, **named: Any) -> None:
        create(self, *arguments, **{**named, "run_type": DagRunType.BACKFILL_JOB, "triggering_user_name": None})

    monkeypatch.setattr(dagrun.DagRun, "__init__", made)


@pytest.mark.e2e
@pytest.mark.filterwarnings("default")
@pytest.mark.timeout(900)
def test_a_backfilled_run_judges_and_touches_nothing(make_bank: Any, served: Path, as_backfill: None) -> None:
    bank = make_bank()
    shutil.rmtree(bank.home)
    shutil.copytree(served, bank.home)
    bank.patch.setenv("PIPELINE_OVERRIDES", str(bank.home / "policy.yaml"))
    was = serves(bank.home)
    run = bank.run("weekly_promotion", WEEKS[0])
    assert (str(run.run_type), run.state) == ("backfill", "success")
    states = bank.states(run)
    assert {states[task] for task in ("release", "sign_off", "open_approval", "assess")} == {"skipped"}
    assert {states[task] for task in ("judge", "drift", "counterfactual", "close_run")} == {"success"}
    assert bank.context(WEEKS[0]).read("gate").facts["mode"] == "dry_run"
    now = serves(bank.home)
    assert {**now, "rows as of": None} == {**was, "rows as of": None}


@pytest.mark.filterwarnings("default")
def test_a_run_of_a_backfill_asks_for_a_dry_run(bag: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no other does by itself: what the gate makes of an older run, or one started by hand, is the gate's."""
    asked: dict[str, Any] = {}
    judge = bag.dags["weekly_promotion"].get_task("judge").python_callable
    monkeypatch.setitem(judge.__globals__, "open_run", lambda: None)
    monkeypatch.setattr(decide, "decide", lambda _, **given: asked.update(given) or SimpleNamespace(facts={}))
    for kind, mode in (("backfill", "dry_run"), ("scheduled", "evaluate"), ("manual", "evaluate")):
        run = SimpleNamespace(run_type=SimpleNamespace(value=kind), triggering_user_name="ann", conf={})
        context = {"dag_run": run, "params": {"promotable": True}}
        monkeypatch.setattr(pipeline_context, "get_current_context", lambda context=context: context)
        judge()
        assert asked["mode"] == mode


@pytest.mark.filterwarnings("default")
def test_whatever_a_dry_run_finds_it_ends_there(bag: Any) -> None:
    route = bag.dags["weekly_promotion"].get_task("route").python_callable
    for decision in ("bootstrap", "promote", "await_signoff", "reject"):
        assert route({"mode": "dry_run", "decision": decision}) == "close_run"
    assert route({"mode": "evaluate", "decision": "promote"}) == "release"
