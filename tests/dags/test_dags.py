"""The DAG files: they load, say what they are, touch nothing while loading, and name only what set-up creates."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import local_airflow

pytestmark = pytest.mark.filterwarnings("default")
REPO = Path(__file__).resolve().parent.parent.parent
DAGS = ["force_promote", "nightly_oversight", "nightly_scoring", "quarterly_compliance", "weekly_promotion"]
HEAVY = ["torch", "lightgbm", "duckdb", "polars", "lancedb", "great_expectations", "boto3"]


def test_every_dag_loads(bag) -> None:
    assert bag.import_errors == {}
    assert sorted(bag.dags) == DAGS


@pytest.mark.parametrize("name", DAGS)
def test_a_dag_is_its_own_runbook_page(bag, name: str) -> None:
    dag = bag.dags[name]
    assert len(dag.doc_md) > 200
    assert all(task.doc_md or task.is_mapped or task.task_type == "HITLOperator" for task in dag.tasks)


def test_the_weekly_run_is_monday_three_in_seoul(bag) -> None:
    import pendulum

    timetable = bag.dags["weekly_promotion"].timetable
    assert type(timetable).__name__ == "CronTriggerTimetable"
    after = pendulum.datetime(2026, 11, 12, tz="UTC")
    from airflow.timetables.base import TimeRestriction
    from airflow.timetables.trigger import CronTriggerTimetable

    core = CronTriggerTimetable("0 3 * * 1", timezone="Asia/Seoul")
    run = core.next_dagrun_info(
        last_automated_data_interval=None, restriction=TimeRestriction(after, None, catchup=True)
    )
    assert run.logical_date == pendulum.datetime(2026, 11, 15, 18, tz="UTC")
    assert (timetable._expression if hasattr(timetable, "_expression") else timetable.expression) == "0 3 * * 1"


@pytest.mark.parametrize("name", DAGS)
def test_one_run_at_a_time_and_no_catch_up(bag, name: str) -> None:
    # A forced version that waits for its second person holds up no further request; its pool serialises the effects.
    assert bag.dags[name].max_active_runs == (16 if name == "force_promote" else 1)
    assert bag.dags[name].catchup is False


def test_every_pool_a_task_names_is_made_at_set_up(bag) -> None:
    pools = {task.pool for dag in bag.dags.values() for task in dag.tasks}
    assert pools - {"default_pool"} <= set(local_airflow.POOLS)


def test_training_alone_goes_to_the_cuda_queue(bag) -> None:
    queues = {task.task_id: task.queue for dag in bag.dags.values() for task in dag.tasks if task.queue != "default"}
    assert queues == {"train_teacher": "cuda"}


def test_the_order_of_the_journey_is_in_the_dag(bag) -> None:
    dag = bag.dags["weekly_promotion"]
    journey = [
        "repair", "data.ingest", "data.label", "data.check_tables", "data.fit_features", "data.build_range",
        "data.assemble_features", "data.check_features", "train_teacher", "distil.active_tasks", "distil.fit_student",
        "distil.assemble", "distil.package", "score", "judge", "route",
    ]  # fmt: skip
    for before, after in zip(journey, journey[1:], strict=False):
        assert after in dag.get_task(before).downstream_task_ids, f"{before} -> {after}"


def test_loading_a_dag_imports_nothing_heavy_and_opens_nothing() -> None:
    """In a process of its own: what a scheduler pays every time it parses."""
    code = f"""
import json, socket, sqlite3, sys
sys.path[:0] = [{str(REPO)!r}, {str(REPO / "dags")!r}]
import airflow.sdk, airflow.providers.standard.operators.hitl
def refuse(*a, **k): raise AssertionError("a DAG file opened a connection")
socket.socket.connect = refuse
sqlite3.connect = refuse
before = set(sys.modules)
for name in {DAGS!r}:
    __import__(name)
print(json.dumps([m for m in {HEAVY!r} if m in set(sys.modules) - before]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_the_script_and_the_library_agree_on_the_last_monday() -> None:
    """The script is standard library only, so it cannot ask the library; this holds the two together."""
    from pipeline_lib.business_time import last_promotion_day, utc_now

    assert local_airflow._last_monday() == last_promotion_day(utc_now())
