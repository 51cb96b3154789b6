"""Five regulators' reports for the quarter that ended, each a query over the verified record.

Runs on the first day of a quarter, 06:00 Asia/Seoul. Every number points at recorded rows; what is not known is printed
as unknown. A report with unknown mandatory clauses is drawn and cannot be filed. Ends in a human review.
"""

from datetime import timedelta

import pendulum
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import CronTriggerTimetable, Param, dag, task

from pipeline_assets import REPORTS
from pipeline_context import open_run
from pipeline_lib import settings
from pipeline_retries import DEFAULT_ARGS

SCHEDULES = settings.load().schedules
KINDS = ["korean_fria", "eu_risk_record", "annex_iv", "pia", "public_disclosure"]


@dag(
    schedule=CronTriggerTimetable(SCHEDULES.quarterly_compliance, timezone=SCHEDULES.timezone),
    start_date=pendulum.datetime(2026, 1, 1, tz=SCHEDULES.timezone),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    doc_md=__doc__,
    tags=["compliance"],
)
def quarterly_compliance():
    @task
    def freeze() -> dict:
        """Verify the whole record, then fix the checkpoint that all five reports are computed at."""
        from pipeline_lib.comply import quarterly

        return quarterly.freeze(open_run())

    @task(outlets=[REPORTS], map_index_template="{{ kind }}")
    def generate(kind: str, frozen: dict) -> dict:
        """One report: JSON, page and evidence pointers."""
        from airflow.sdk import get_current_context

        from pipeline_lib.comply import quarterly

        get_current_context()["kind"] = kind
        return quarterly.generate(open_run(), kind, frozen)

    @task
    def summary(reports: list[dict]) -> str:
        """What the reviewer reads: completeness and unknown clauses per report."""
        from pipeline_lib.comply import quarterly

        return quarterly.summary(list(reports))

    @task
    def record_review(reports: list[dict], answer: dict) -> dict:
        """Who reviewed, when and what they said, as an audit entry."""
        from pipeline_lib.comply import quarterly

        responder = (answer.get("responded_by_user") or {}).get("name")
        return quarterly.record_review(
            open_run(),
            list(reports),
            answer["chosen_options"][0],
            responder,
            (answer.get("params_input") or {}).get("comment") or "",
        )

    frozen = freeze()
    reports = generate.partial(frozen=frozen).expand(kind=KINDS)
    page = summary(reports)
    review = HITLOperator(
        task_id="review",
        subject="Review the quarter's five reports",
        body="{{ ti.xcom_pull(task_ids='summary') }}",
        options=["Reviewed", "Returned"],
        defaults="Returned",
        response_timeout=timedelta(days=15),
        params={"comment": Param(None, type=["null", "string"])},
        retries=0,
    )
    page >> review
    record_review(reports, review.output)


quarterly_compliance()
