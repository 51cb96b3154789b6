"""Everybody's answers at once, for branches that cannot call the function while a customer waits.

Paused until a deployment needs it. Every night 05:00 Asia/Seoul the released version answers every customer by the code
of the function, so the scores are the function's; each answer is in the audit record before its range is published.
The tables are `answers.parquet` and `scores.parquet` of the stage `everyone_part.<range>`.

**Red at `score_range`**: the log says which range and why; clear that task, the other ranges stay. *planned, now*: a
release or a weekly refresh came between; clear `plan`. **Stored answers age**: who shows one reads the customer's
opt-out and the switches first, as the function does.
"""

import pendulum
from airflow.sdk import CronTriggerTimetable, dag, task

from pipeline_context import open_run, reference
from pipeline_lib import settings
from pipeline_retries import DEFAULT_ARGS

SCHEDULES = settings.load().schedules


@dag(
    schedule=CronTriggerTimetable(SCHEDULES.nightly_scoring, timezone=SCHEDULES.timezone),
    start_date=pendulum.datetime(2026, 1, 5, tz=SCHEDULES.timezone),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    default_args=DEFAULT_ARGS,
    doc_md=__doc__,
    tags=["serving"],
)
def nightly_scoring():
    @task
    def plan() -> list[int]:
        """The release, the rows and the ranges of this night."""
        from pipeline_lib.serve import everyone

        everyone.plan(open_run())
        return everyone.range_numbers(open_run())

    @task
    def score_range(number: int):
        """Every answer of one range, recorded and then published; retried alone."""
        from pipeline_lib.serve import everyone

        return reference(everyone.score_range(open_run(), number))

    @task
    def close():
        """Nobody twice, nobody left out; how many by which layer."""
        from pipeline_lib.serve import everyone

        return reference(everyone.close(open_run()))

    score_range.expand(number=plan()) >> close()


nightly_scoring()
