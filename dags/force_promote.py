r"""Make a known-good version the champion now. For on-call.

Trigger with version, reason and operator (all mandatory), here with the form or on the command line:

    airflow dags trigger force_promote --conf \
      '{"version": "v20261109-1a2b3c4d", "reason": "DI breach on lending since 02:40", "operator": "oncall"}'

`operator` is your login: the name you are signed in with here, or your system user on the command line.
A version that has been champion before needs one operator; any other needs a second person's name in `approver`.
Refused requests (unknown, unsigned or corrupted version, boilerplate reason) change nothing and say why. To go back,
force the previous version: rollback is the same path. Serving takes the version within two minutes.
"""

import pendulum
from airflow.sdk import Param, dag, task

from pipeline_assets import CHAMPION
from pipeline_context import PROMOTION, open_run
from pipeline_lib import settings
from pipeline_retries import DEFAULT_ARGS

SCHEDULES = settings.load().schedules


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
        "approver": Param(None, type=["null", "string"], title="Second person, for a version that never served"),
        "ticket": Param(None, type=["null", "string"], title="Ticket"),
    },
)
def force_promote():
    @task(outlets=[CHAMPION], **PROMOTION)
    def force(params=None, dag_run=None) -> dict:
        """Record the decision, then release: fail closed."""
        from pipeline_lib import settings as policy
        from pipeline_lib.errors import RequestRefused
        from pipeline_lib.gate import force as forced
        from pipeline_lib.publish import release
        from pipeline_lib.serve import probe

        known = {"version", "reason", "operator", "approver", "ticket"}
        if unknown := sorted(set(dag_run.conf or {}) - known):
            raise RequestRefused(f"unknown keys in the request: {unknown}; known: {sorted(known)}")
        place = policy.load()
        decision, receipt = forced.force_promote(
            place,
            params["version"],
            params["operator"],
            params["reason"],
            approver=params["approver"],
            request_id=dag_run.run_id,
            ticket=params["ticket"],
            principal=dag_run.triggering_user_name,
            smoke=probe.answers,
        )
        result = release.release(place, decision, receipt, probe=probe.answers)
        return {"decision_id": decision.decision_id, "version": result.version, "reason_code": decision.reason_code}

    @task(retries=0)
    def assess() -> dict:
        """Regulators' assessments of what serves now: best effort, failures are recorded and stop nothing."""
        from pipeline_lib.comply import on_promotion

        return on_promotion.assess(open_run())

    @task(trigger_rule="all_done")
    def close_run():
        """Commit the record: a signed checkpoint over the decision and its effects."""
        from pipeline_lib import settings as policy
        from pipeline_lib.audit import session

        return session.commit(policy.load())

    @task(trigger_rule="one_failed", retries=0)
    def watcher():
        """Keeps a refused request red."""
        raise RuntimeError("the request was refused or failed; see the log of `force`")

    done = force()
    done >> assess() >> close_run()
    done >> watcher()


force_promote()
