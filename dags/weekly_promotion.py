"""Train a challenger on the newest data, judge it against the champion, and release it if a human agrees.

Every Monday 03:00 Asia/Seoul. A run ends green with one of: *bootstrap* (nothing served yet: released at once),
*promote* (approved here, then released), *reject* (the challenger lost or broke the fidelity floor: normal), or a
declined or expired sign-off. It ends red only when something could not be done or judged.

**A waiting sign-off**: open *Required Actions* on the home page, read the comparison table, choose Approve or Reject
and give a reason. Nobody answering for 72 hours counts as Reject.

**Red at `check_tables` or `check_features`**: a label or the future reaches a feature; the log names column,
statistic and threshold. Nothing was trained. **Red at `check_scores`**: a model is better than it can honestly be.
**Red at `judge`**: the gate could not judge; the champion is unchanged. Clearing a task is safe: every stage is
idempotent for its date. Backfilled runs, runs older than one that was judged, and runs started by hand without
*promotable* judge in full and never change the champion.
"""

from datetime import timedelta

import pendulum
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import CronTriggerTimetable, Param, TriggerRule, dag, task, task_group

from pipeline_assets import CHAMPION, FEATURES, PACKAGE, TEACHER
from pipeline_context import CUDA, PROMOTION, is_backfill, open_run, promotable, reference, responder, started_by
from pipeline_lib import settings
from pipeline_retries import DEFAULT_ARGS

SCHEDULES = settings.load().schedules


@dag(
    schedule=CronTriggerTimetable(SCHEDULES.weekly_promotion, timezone=SCHEDULES.timezone),
    start_date=pendulum.datetime(2026, 1, 5, tz=SCHEDULES.timezone),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    doc_md=__doc__,
    tags=["promotion"],
    params={"promotable": Param(False, type="boolean", title="A run started by hand: may it change the champion?")},
)
def weekly_promotion():
    @task(**PROMOTION)
    def repair() -> list[str]:
        """Finish or void what a crash left half done, before anything new is decided; a backfill touches nothing."""
        from pipeline_lib.publish import release as releases
        from pipeline_lib.serve import probe

        return [] if is_backfill() else releases.reconcile(open_run().settings, probe=probe.answers)

    @task_group
    def data():
        """Source to features, with the leakage checks that stop the run."""

        @task
        def ingest():
            """Raw source to canonical tables, checked by Great Expectations."""
            from pipeline_lib.ingest import load

            return reference(load.ingest(open_run()))

        @task
        def label():
            """Splits by time and customer; labels from the months after each cutoff."""
            from pipeline_lib.ingest import labels

            return reference(labels.label(open_run()))

        @task
        def check_tables():
            """Leaks that show before features exist: splits, gap, files, dates."""
            from pipeline_lib.features import check

            return reference(check.check_tables(open_run()))

        @task
        def fit_features() -> list[int]:
            """Everything features learn, from a bounded sample of train rows; returns the ranges of customers."""
            from pipeline_lib.features import build

            build.fit_features(open_run())
            return build.range_numbers(open_run())

        @task
        def build_range(number: int):
            """Features as of each cutoff, of one range of customers; retried alone."""
            from pipeline_lib.features import build

            return reference(build.build_part(open_run(), number))

        @task(outlets=[FEATURES])
        def assemble_features():
            """One scaler of all train rows, one schema, the tables that the next stages read."""
            from pipeline_lib.features import build

            return reference(build.assemble_features(open_run()))

        @task
        def check_features():
            """Leaks that show in the matrix: copies, derived labels, lineage, scalers; then the run's Data Docs."""
            from pipeline_lib.expectations import data_docs
            from pipeline_lib.features import check

            checked = check.check_features(open_run())
            data_docs.of_run(open_run())
            return reference(checked)

        fitted = fit_features()
        ingest() >> label() >> check_tables() >> fitted
        build_range.expand(number=fitted) >> assemble_features() >> check_features()

    @task(outlets=[TEACHER], **CUDA)
    def train_teacher():
        """The multi-task network with named experts; resumes from its checkpoint when it was killed."""
        from pipeline_lib.teacher import train

        return reference(train.train(open_run()))

    @task_group
    def distil():
        """One small model per prediction task, judged for fidelity, in one signed package."""

        @task
        def active_tasks() -> list[str]:
            """The prediction tasks this source can support."""
            from pipeline_lib import distill

            return list(distill.active_tasks(open_run()))

        @task(map_index_template="{{ prediction_task }}")
        def fit_student(name: str):
            """Soft labels to one LightGBM student."""
            from airflow.sdk import get_current_context

            from pipeline_lib import distill

            get_current_context()["prediction_task"] = name
            return reference(distill.fit_student(open_run(), name))

        @task(trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS)
        def assemble():
            """Fidelity of all students in one table; one that failed makes the package incomplete."""
            from pipeline_lib import distill

            return reference(distill.assemble(open_run()))

        @task(outlets=[PACKAGE])
        def package():
            """Students, rules and texts in one signed version, registered and not yet judged."""
            from pipeline_lib.publish import package as packages

            return reference(packages.package(open_run()))

        fit_student.expand(name=active_tasks()) >> assemble() >> package()

    @task
    def check_scores():
        """Leaks that show in results alone: scores above what the bank's law, or honesty, allows."""
        from pipeline_lib.features import check_scores as scores

        return reference(scores.check_scores(open_run()))

    @task(**PROMOTION)
    def score():
        """Challenger, champion and anchor on the same customers, by the code that serves."""
        from pipeline_lib.serve import batch

        return reference(batch.score(open_run()))

    @task
    def drift():
        """How far the challenger is from the champion and from the champion of 13 weeks ago; stops nothing."""
        from pipeline_lib.monitor import successive

        return reference(successive.drift(open_run()))

    @task
    def counterfactual():
        """What logged answers say about the challenger; UNAVAILABLE while the champion explores nothing."""
        from pipeline_lib.monitor.counterfactual import logged, stage
        from pipeline_lib.serve import replay

        logged.log(open_run())
        replay.replay(open_run())
        return reference(stage.compare(open_run()))

    @task(**PROMOTION)
    def judge() -> dict:
        """The gate. Its verdict is in the audit record before this task ends."""
        from pipeline_lib.gate import decide
        from pipeline_lib.serve import probe

        who = {"started_by": started_by(), "promotable": promotable()}
        mode = "dry_run" if is_backfill() else "evaluate"
        return dict(decide.decide(open_run(), mode=mode, smoke=probe.answers, **who).facts)

    @task.branch
    def route(verdict: dict) -> str:
        """A first champion is released, a cleared challenger waits for a human, anything else is done."""
        return {"bootstrap": "release", "promote": "release", "await_signoff": "open_approval"}.get(
            "none" if verdict["mode"] == "dry_run" else verdict["decision"], "close_run"
        )

    @task
    def open_approval(verdict: dict) -> str:
        """The comparison a reviewer reads; recorded, so that what was shown can be proved."""
        from pipeline_lib.gate import signoff

        return signoff.open_approval(open_run().settings, verdict["decision_id"])

    @task(**PROMOTION)
    def conclude(verdict: dict, answer: dict) -> dict:
        """The human's verdict, with who answered, when and why, as its own audit entry."""
        from pipeline_lib.gate import signoff

        who, chosen = responder(answer), answer["chosen_options"][0]
        decision = signoff.conclude(
            open_run().settings,
            verdict["decision_id"],
            chosen if who else "expired",
            who,
            (answer.get("params_input") or {}).get("reason") or "",
            pendulum.parse(str(answer["responded_at"])) if who else None,
        )
        return {"decision_id": decision.decision_id, "decision": decision.decision}

    @task.branch
    def route_answer(verdict: dict) -> str:
        """Approved or not."""
        return "release" if verdict["decision"] == "promote" else "close_run"

    @task(outlets=[CHAMPION], trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS, **PROMOTION)
    def release(verdict: dict, ti=None) -> dict:
        """Publish the package and make it the champion: only with a decision and its receipt."""
        from pipeline_lib.publish import release as releases
        from pipeline_lib.serve import probe

        answered = ti.xcom_pull(task_ids="conclude") or verdict
        return dict(releases.publish(open_run(), answered["decision_id"], probe=probe.answers).facts)

    @task(retries=0)
    def assess():
        """Regulators' assessments of the new champion: best effort, failures are recorded and stop nothing."""
        from pipeline_lib.comply import on_promotion

        return on_promotion.assess(open_run())

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def close_run():
        """Commit the record: a signed checkpoint over every entry of this run."""
        from pipeline_lib.audit import session

        return session.commit(open_run().settings)

    @task(trigger_rule=TriggerRule.ONE_FAILED, retries=0)
    def watcher():
        """Keeps a failed run red although the record is always closed."""
        raise RuntimeError("a task of this run failed; see the red task's log")

    sign_off = HITLOperator(
        task_id="sign_off",
        subject="Promote {{ ti.xcom_pull(task_ids='judge')['challenger_version'] }} to champion?",
        body="{{ ti.xcom_pull(task_ids='open_approval') }}",
        options=["Approve", "Reject"],
        defaults="Reject",
        response_timeout=timedelta(hours=SCHEDULES.signoff_hours),
        params={"reason": Param(None, type=["null", "string"], title="Reason (at least 10 characters)")},
        retries=0,
    )

    verdict = judge()
    trained, distilled = train_teacher(), distil()
    scored, checked = score(), check_scores()
    repair() >> data() >> trained >> distilled >> [scored, checked] >> verdict
    scored >> [drift(), counterfactual()] >> verdict
    shown, routed = open_approval(verdict), route(verdict)
    answered = conclude(verdict, sign_off.output)
    released, closed = release(verdict), close_run()
    routed >> [shown, released, closed]
    shown >> sign_off >> answered >> route_answer(answered) >> [released, closed]
    released >> assess() >> closed
    students = distilled.get_child_by_label("fit_student")
    [trained, students, distilled, verdict, answered, released, closed] >> watcher()


weekly_promotion()
