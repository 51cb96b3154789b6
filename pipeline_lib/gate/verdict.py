"""From a climbed ladder to the Decision: every column of the verdict's row, in canonical form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline_lib.gate.advice import Advice
from pipeline_lib.gate.ladder import Climb
from pipeline_lib.gate.trial import Trial
from pipeline_lib.records import Decision
from pipeline_lib.registry import decisions, rows
from pipeline_lib.registry.decisions import Judged


def decision(
    trial: Trial,
    judged: Judged,
    climb: Climb,
    advice: Advice,
    *,
    started_by: str | None,
    tests_this_year: int | None,
    duration_us: int | None,
    config_hash: str,
) -> Decision:
    """The gate's verdict.

    Args:
        tests_this_year: how many primary tests the gate made this year, this one included; None for a dry run.
        duration_us: how long judging took; None for a dry run, whose row has the same bytes again.
    """
    champion, manifest = trial.seen.pointer, trial.package.body if trial.package else {}
    identity = [judged.manifest_sha256, trial.seen.generation, trial.bundle.digest, config_hash, judged.mode]
    body = rows.verdict_body(
        manifest_sha256=judged.manifest_sha256,
        run_id=f"{judged.dataset}/{judged.logical_date}",
        model_digest_challenger=judged.manifest_sha256,
        model_digest_champion=champion.manifest_sha256 if champion else None,
        approvals=[{"actor_ref": started_by, "method": "started_run", "at": None}] if started_by else [],
        gate_path=list(climb.path),
        bundle_digest=trial.bundle.digest,
        auto_promote=trial.policy.auto_promote,
        fidelity=[task.to_dict() for task in trial.fidelity],
        training_snapshot_hash=manifest.get("data_snapshot_id"),
        drift=advice.drift_column(),
        counterfactual=advice.counterfactual_column(),
        duration_us=duration_us,
        **_found(trial, tests_this_year),
    )
    return Decision(
        decision_id=decisions.decision_id(*identity, *([judged.attempt] if judged.attempt else [])),
        decision=climb.decision,
        reason_code=climb.answer.code,
        reason=f"{climb.answer.code}: {climb.answer.reason}",
        trigger="auto",
        operator=None,
        challenger_version=trial.version,
        champion_version=trial.seen.version,
        champion_generation=trial.seen.generation,
        config_hash=config_hash,
        body=body,
    )


def tests_of_year(bodies: Iterable[Mapping[str, Any]], year: str) -> int:
    """Verdicts of the gate about runs of a year that made the primary test, whatever came of it.

    One test a week at 5 % finds two or three of fifty equal challengers "better": the count says how often the
    question was asked. A human's answer repeats the numbers of the verdict it rests on and is no test of its own.
    """
    return sum(_tested(body, year) for body in bodies)


def _tested(body: Mapping[str, Any], year: str) -> bool:
    of_year = str(body["run_id"]).rpartition("/")[2].startswith(f"{year}-")
    made = (body["significance"] or {}).get("p") is not None
    return bool(of_year and made and body["basis_decision_id"] is None)


def _found(trial: Trial, tests_this_year: int | None) -> dict[str, Any]:
    columns = {column: trial.found.get(column) for column in ("task_sets", "comparison", "significance", "hooks")}
    if columns["significance"] is not None:
        columns["significance"] = {**columns["significance"], "tests_this_year": tests_this_year}
    return columns
