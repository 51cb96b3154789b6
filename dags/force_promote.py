r"""Make a known-good version the champion now. For on-call.

Trigger with version, reason and operator (all mandatory), here with the form or on the command line:

    airflow dags trigger force_promote --conf \
      '{"version": "v20261109-1a2b3c4d", "reason": "DI breach on lending since 02:40", "operator": "oncall"}'

`operator` is your login: the name you are signed in with here, or your system user on the command line.
A version that was champion before is forced by one person. Any other waits in *Required Actions* until a second
person, signed in under another name, confirms it. Refused requests (unknown, unsigned or corrupted version,
boilerplate reason) change nothing and say why. To go back, force the previous version: rollback is the same path.
Serving takes the version within two minutes.
"""

from datetime import timedelta

import pendulum
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param, TriggerRule, dag, task

from pipeline_assets import CHAMPION
from pipeline_context import PROMOTION, open_run
from pipeline_lib import settings
from pipeline_retries import DEFAULT_ARGS

SCHEDULES = settings.load().schedules
KNOWN = {"version", "reason", "operator", "ticket"}


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 5, tz=SCHEDULES.timezone),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,  # a trigger at 3 a.m. must not wait for somebody to unpause
    default_args=DEFAULT_ARGS | {"retries": 0},
    doc_md=__doc__,
    tags=["promotion", "on-call"],
    params={
        "version": Param(type="string", pattern="^v[0-9]{8}-[0-9a-f]{8}$", title="Version to serve"),
        "reason": Param(type="string", minLength=10, maxLength=500, title="Why, in a sentence"),
        "operator": Param(type="string", minLength=2, title="Who is asking"),
        "ticket": Param(None, type=["null", "string"], title="Ticket"),
    },
)
def force_promote():
    @task.branch
    def persons(params=None, dag_run=None) -> str:
        """Who has to agree: asked before anybody is woken up a second time."""
        from pipeline_lib import settings as policy
        from pipeline_lib.errors import RequestRefused
        from pipeline_lib.gate import force as forced

        if unknown := sorted(set(dag_run.conf or {}) - KNOWN):
            raise RequestRefused(f"unknown keys in the request: {unknown}; known: {sorted(KNOWN)}")
        return "second_person" if forced.needs_second_person(policy.load(), params["version"]) else "force"

    second_person = HITLOperator(
        task_id="second_person",
        subject="Serve {{ params.version }}, which has never been champion?",
        body="{{ params.operator }} asks: {{ params.reason }}",
        options=["Confirm", "Refuse"],
        defaults="Refuse",
        response_timeout=timedelta(hours=1),
    )

    @task(outlets=[CHAMPION], trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS, **PROMOTION)
    def force(params=None, dag_run=None, ti=None) -> dict:
        """Record the decision, then release: fail closed."""
        from pipeline_lib import settings as policy
        from pipeline_lib.errors import RequestRefused
        from pipeline_lib.gate import force as forced
        from pipeline_lib.publish import release
        from pipeline_lib.serve import probe

        answer = ti.xcom_pull(task_ids="second_person")
        if answer and answer["chosen_options"] != ["Confirm"]:
            raise RequestRefused("the second person did not confirm")
        place = policy.load()
        decision, receipt = forced.force_promote(
            place,
            params["version"],
            params["operator"],
            params["reason"],
            approver=answer["responded_by_user"]["name"] if answer else None,
            request_id=dag_run.run_id,
            ticket=params["ticket"],
            principal=dag_run.triggering_user_name,
            smoke=probe.answers,
        )
        result = release.release(place, decision, receipt, probe=probe.answers)
        code = forced.outcome(decision, dag_run.run_id)
        return {"decision_id": decision.decision_id, "version": result.version, "reason_code": code}

    @task(retries=0)
    def assess() -> dict:
        """Regulators' assessments of what serves now: best effort, failures are recorded and stop nothing."""
        from pipeline_lib.comply import on_promotion

        return on_promotion.assess(open_run())

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def close_run():
        """Commit the record: a signed checkpoint over the decision and its effects."""
        from pipeline_lib import settings as policy
        from pipeline_lib.audit import session

        return session.commit(policy.load())

    @task(trigger_rule=TriggerRule.ONE_FAILED, retries=0)
    def watcher():
        """Keeps a refused request red."""
        raise RuntimeError("the request was refused or failed; see the red task's log")

    asked, done = persons(), force()
    asked >> [second_person, done]
    second_person >> done >> assess() >> close_run()
    [asked, done] >> watcher()


force_promote()
