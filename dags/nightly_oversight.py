"""Prove that nothing was touched and that the service behaves: the record, the champion, drift and fairness.

Every night 02:00 Asia/Seoul. Red means: somebody must look now (a broken record, a pointer without its decision).
Readings and the checklist (GREEN, YELLOW, RED) are in the log of `checklist` and in the record.
"""

import pendulum
from airflow.sdk import CronTriggerTimetable, TriggerRule, dag, task

from pipeline_context import PROMOTION
from pipeline_lib import settings
from pipeline_retries import DEFAULT_ARGS

SCHEDULES = settings.load().schedules


@dag(
    schedule=CronTriggerTimetable(SCHEDULES.nightly_oversight, timezone=SCHEDULES.timezone),
    start_date=pendulum.datetime(2026, 1, 5, tz=SCHEDULES.timezone),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    doc_md=__doc__,
    tags=["oversight"],
)
def nightly_oversight():
    @task
    def record_late():
        """A kill switch fired while the record could not be reached is recorded now."""
        from pipeline_lib import settings as policy
        from pipeline_lib.objects import open_objects
        from pipeline_lib.oversee import unrecorded

        place = policy.load()
        return unrecorded.settle(place, open_objects(place.place.root))

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def commit_record():
        """Checkpoint what was written since the last one and feed the query tables."""
        from pipeline_lib import settings as policy
        from pipeline_lib.audit import session

        return session.commit(policy.load())

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def verify_record():
        """Every entry, every chain, every checkpoint; raises naming the first bad entry."""
        from pipeline_lib import settings as policy
        from pipeline_lib.audit import session

        return session.verify_record(policy.load())

    @task(trigger_rule=TriggerRule.ALL_DONE, **PROMOTION)
    def verify_champion():
        """The pointer is signed and as recorded; documents, decisions, package and release target agree with it."""
        from pipeline_lib import settings as policy
        from pipeline_lib.publish import oversight

        return oversight.verify_champion(policy.load())

    @task(retries=0)
    def chase_confirmations():
        """A force-promote that no second person confirmed in time opens a major incident, and turns its night red."""
        from pipeline_lib import settings as policy
        from pipeline_lib.gate import confirm

        if opened := confirm.open_incidents(policy.load()):
            raise RuntimeError(f"major incidents opened: {'; '.join(opened)}")

    @task
    def read_drift():
        """Served scores against the scores the champion was released with."""
        from pipeline_lib import settings as policy
        from pipeline_lib.monitor import drift

        return drift.nightly(policy.load())

    @task
    def read_fairness():
        """Disparate impact, parity and opportunity differences on what was delivered."""
        from pipeline_lib import settings as policy
        from pipeline_lib.monitor import fairness

        return fairness.nightly(policy.load())

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def checklist(drift, fairness):
        """The deterministic checklist over tonight's readings; complete without any model."""
        from pipeline_lib import settings as policy
        from pipeline_lib.oversee import checklist as rules

        return rules.nightly(policy.load(), [*(drift or []), *(fairness or [])])

    @task(trigger_rule=TriggerRule.ONE_FAILED, retries=0)
    def watcher():
        """Keeps a failed night red."""
        raise RuntimeError("oversight found something or could not look; see the red task's log")

    late, committed, record, champion = record_late(), commit_record(), verify_record(), verify_champion()
    chased, drift, fairness = chase_confirmations(), read_drift(), read_fairness()
    checked = checklist(drift, fairness)
    late >> committed >> [record, champion, chased, drift, fairness] >> checked
    [late, committed, record, champion, chased, drift, fairness, checked] >> watcher()


nightly_oversight()
