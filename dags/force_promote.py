r"""Make a known-good version the champion now. For on-call.

Trigger with version, reason and operator (all mandatory), here with the form or on the command line:

    airflow dags trigger force_promote --conf \
      '{"version": "v20261109-1a2b3c4d", "reason": "DI breach on lending since 02:40", "operator": "oncall"}'

`operator` is your login: the name you are signed in with here, or your system user on the command line.

**`force` green: the version serves.** The run itself stays open until a second person has confirmed under *Required
Actions*; nobody answering for 24 hours opens a major incident. It holds up no further request.

A version that is not known-good (served 24 hours within 90 days, verifies, not quarantined) waits in *Required
Actions* until a second person, signed in under another name, agrees; then nothing is left to confirm. Refused requests
(unknown, unsigned or corrupted version, boilerplate reason) are red, change nothing and say why in the log of the red
task. To go back, force the previous version: rollback is the same path. Serving takes the version within two minutes.
"""

from datetime import timedelta

import pendulum
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param, TriggerRule, dag, task

from pipeline_assets import CHAMPION
from pipeline_context import PROMOTION, open_run, responder, typed_request
from pipeline_lib import settings
from pipeline_retries import DEFAULT_ARGS

POLICY = settings.load()
AT_ONCE = 16
"""Open requests: one that waits for a second person must not hold up the next. The pool lets one change at a time."""


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 5, tz=POLICY.schedules.timezone),
    catchup=False,
    max_active_runs=AT_ONCE,
    is_paused_upon_creation=False,  # a trigger at 3 a.m. must not wait for somebody to unpause
    default_args=DEFAULT_ARGS | {"retries": 0},
    doc_md=__doc__,
    tags=["promotion", "on-call"],
    params={
        "version": Param(
            type="string", pattern="^v[0-9]{8}-[0-9a-f]{8}$", title="Version to serve",
            description="As the page Governance lists it, e.g. v20261109-1a2b3c4d",
        ),
        "reason": Param(
            type="string", minLength=POLICY.promotion.force.reason_min_chars,
            maxLength=POLICY.promotion.force.reason_max_chars, title="Why, in a sentence",
            description="What happened. No customer's name or number: it is kept for years",
        ),
        "operator": Param(
            type="string", minLength=2, title="Who is asking",
            description="The name you are signed in with; any other is refused",
        ),
        "ticket": Param(None, type=["null", "string"], title="Ticket", description="e.g. INC-48213"),
    },
)  # fmt: skip
def force_promote():
    @task.branch
    def persons(ti=None) -> str:
        """Refuse what is not valid, before anybody is woken up; then say whether a second person has to agree."""
        from pipeline_lib import settings as policy
        from pipeline_lib.gate import force as forced

        request, principal, unknown = typed_request()
        why = forced.examine(policy.load(), request, principal, unknown)
        ti.xcom_push("why", why)
        return "second_person" if why else "force"

    second_person = HITLOperator(
        task_id="second_person",
        subject="Serve {{ params.version }} although {{ ti.xcom_pull(task_ids='persons', key='why') }}?",
        body="**{{ params.operator }}** asks: {{ params.reason }}\n\nConfirm, signed in under another name, and it "
        "serves within two minutes, without fidelity, comparison or compliance being asked. Signature, hashes and a "
        "smoke test are checked.",
        options=["Confirm", "Refuse"],
        defaults="Refuse",
        response_timeout=timedelta(hours=1),
    )

    @task(outlets=[CHAMPION], trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS, **PROMOTION)
    def force(ti=None) -> dict:
        """Record the decision, then release: fail closed."""
        from pipeline_lib import settings as policy
        from pipeline_lib.gate import confirm
        from pipeline_lib.gate import force as forced
        from pipeline_lib.publish import release
        from pipeline_lib.serve import probe

        place, answer = policy.load(), ti.xcom_pull(task_ids="second_person")
        request, principal, _ = typed_request(approver=responder(answer))
        if answer and answer["chosen_options"] != ["Confirm"]:
            forced.refuse(place, request, f"refused by {responder(answer) or 'nobody: no answer in time'}")
        decision, receipt = forced.force_promote(
            place,
            request.version,
            request.operator,
            request.reason,
            approver=request.approver,
            approver_signed_in=request.approver_signed_in,
            request_id=request.request_id,
            ticket=request.ticket,
            principal=principal,
            smoke=probe.answers,
        )
        result = release.release(place, decision, receipt, probe=probe.answers)
        owed = confirm.due_of(decision)
        return {
            "decision_id": decision.decision_id,
            "version": result.version,
            "reason_code": forced.outcome(decision, request.request_id),
            "confirm_until": owed.until if owed else None,
        }

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

    @task.short_circuit(ignore_downstream_trigger_rules=False)
    def owes_confirmation(made: dict) -> bool:
        """Whether one person did this alone, and nobody has confirmed it yet."""
        from pipeline_lib import settings as policy
        from pipeline_lib.gate import confirm
        from pipeline_lib.gate import force as forced

        waiting = {owed.decision_id for owed in confirm.waiting(policy.load())}
        return made["reason_code"] != forced.ALREADY_CHAMPION and made["decision_id"] in waiting

    confirmation = HITLOperator(
        task_id="confirmation",
        subject="{{ params.operator }} made {{ params.version }} the champion alone. Do you confirm?",
        body="Reason given: {{ params.reason }}\n\nIt serves already. Confirm, or object, signed in under another "
        "name, until {{ ti.xcom_pull(task_ids='force')['confirm_until'] }}. "
        "An objection, or no answer, opens a major incident.",
        options=["Confirm", "Object"],  # no default: the page would offer it as the button to press
        response_timeout=timedelta(hours=POLICY.promotion.force.confirm_hours),
        params={"statement": Param(None, type=["null", "string"], title="What you looked at")},
    )

    @task
    def confirmed(made: dict, answer: dict):
        """Record the second person's answer; an objection is a major incident."""
        from pipeline_lib import settings as policy
        from pipeline_lib.gate import confirm

        place, person, chosen = policy.load(), responder(answer), answer["chosen_options"][0]
        said = (answer.get("params_input") or {}).get("statement") or ""
        confirm.confirm(place, made["decision_id"], person, chosen, said)
        if chosen != "Confirm":
            raise RuntimeError(f"{person} objects to {made['version']}: a major incident is open")

    @task(trigger_rule=TriggerRule.ONE_FAILED, retries=0)
    def watcher():
        """Keeps a refused request red; opens the incident of a confirmation that nobody gave in time."""
        from pipeline_lib import settings as policy
        from pipeline_lib.gate import confirm

        opened = confirm.open_incidents(policy.load())
        raise RuntimeError("; ".join(opened) or "the request was refused or failed; see the red task's log")

    asked, done = persons(), force()
    asked >> [second_person, done]
    second_person >> done >> assess() >> close_run()
    answered = confirmed(done, confirmation.output)
    owes_confirmation(done) >> confirmation >> answered
    [asked, done, confirmation, answered] >> watcher()


force_promote()
