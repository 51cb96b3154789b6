"""Weeks in the life of a small bank, run by the real DAGs: first champion, sign-off, tie, force, oversight, reports."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib import distill
from pipeline_lib.audit import session
from pipeline_lib.errors import ContractError
from pipeline_lib.keys import KeyFolder
from pipeline_lib.registry import pointer
from pipeline_lib.runs import RunContext
from pipeline_lib.serve import local

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("default"), pytest.mark.timeout(1800)]
FIRST, SECOND, THIRD, FOURTH = date(2026, 11, 2), date(2026, 11, 9), date(2026, 11, 16), date(2026, 11, 23)
OPERATOR = "dag_test"
"""Who Airflow says triggered a run in this process."""
REASON = {"reason": "comparison and fidelity reviewed"}
ISOLATED = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "airflow", "pandas", "sklearn", "lancedb", "polars", "pydantic", "pyarrow"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import json
from pipeline_lib.serve.handler import handler
print(json.dumps(handler(json.loads(sys.argv[1]))))
assert "lightgbm" not in sys.modules and "cryptography" not in sys.modules
"""


def champion(bank: Any) -> pointer.Seen:
    return pointer.read(bank.context(FIRST).objects, KeyFolder(bank.settings.place.keys))


def verdicts(bank: Any) -> list[dict[str, Any]]:
    rows = sorted(session.rows(bank.settings, ["log_model_promotion"]), key=lambda row: row.header["ts"])
    return [row.payload for row in rows]


def test_three_weeks_a_forced_night_and_a_quarter(
    make_bank: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = make_bank()
    serves_no_package_that_lacks_a_student(bank, monkeypatch)
    first = bootstraps(bank)
    answers_everybody(bank, first)
    repeats(bank)
    second = is_approved(bank, first)
    is_rejected_as_a_tie(bank, second)
    refuses_and_then_forces(bank, first)
    watches_the_night(bank)
    reports_the_quarter(bank)
    finds_a_pointer_written_by_hand(bank)


def serves_no_package_that_lacks_a_student(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One student fails: the run is red, the other twelve are made and registered, and the gate turns it down."""
    fit = distill.fit_student

    def fails_on_churn(ctx: RunContext, task: str) -> Any:
        if task == "churn_signal":
            raise ContractError("no student today")
        return fit(ctx, task)

    bank.policy("starved")
    with monkeypatch.context() as patched:
        patched.setattr(distill, "fit_student", fails_on_churn)
        run = bank.run("weekly_promotion", FIRST)
    assert (run.state, bank.states(run)["watcher"]) == ("failed", "failed")
    package = bank.context(FIRST).read("package").facts
    assert package["package_state"] == "incomplete"
    assert (verdicts(bank)[-1]["decision"], verdicts(bank)[-1]["reason_code"]) == ("reject", "PACKAGE_INCOMPLETE")
    assert champion(bank).version is None


def bootstraps(bank: Any) -> str:
    """The first run needs nobody: nothing is served yet."""
    bank.policy("starved")
    run = bank.run("weekly_promotion", FIRST)
    assert run.state == "success"
    states = bank.states(run)
    assert (states["release"], states["sign_off"]) == ("success", "skipped")
    seen = champion(bank)
    assert (seen.generation, verdicts(bank)[-1]["decision"]) == (1, "bootstrap")
    assert session.verification(bank.settings).verdict == "INTACT"
    answers_in_a_process_without_torch(bank, seen)
    return str(seen.version)


def answers_in_a_process_without_torch(bank: Any, seen: pointer.Seen) -> None:
    on = local.refreshed_on(bank.settings)
    local.assess(bank.settings, "100001", 3, on, "ann")
    event = local.event(local.sample_request("100001", on))
    done = subprocess.run(
        [sys.executable, "-c", ISOLATED, json.dumps(event)],
        env={**os.environ, **local.environment(bank.settings)},
        cwd=Path(__file__).resolve().parent.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    metrics, response = map(json.loads, done.stdout.splitlines())
    assert metrics["_aws"]["CloudWatchMetrics"]
    answer = json.loads(response["body"])
    assert answer["model"]["version"] == seen.version
    assert answer["status"] == "ok"
    rows = [row.header for row in session.rows(bank.settings)]
    written = [header["log_table"] for header in rows if header["request_id"] == answer["request_id"]]
    assert sorted(written) == ["log_attribution", "log_data_access", "log_guardrail", "log_model_inference"]


def repeats(bank: Any) -> None:
    """The same date again: the same bytes, the same verdict, no second entry."""
    before, entries = bank.manifests(FIRST), len(verdicts(bank))
    assert bank.run("weekly_promotion", FIRST).state == "success"
    assert bank.manifests(FIRST) == before
    assert len(verdicts(bank)) == entries


def is_approved(bank: Any, first: str) -> str:
    """A better challenger waits; user risk approves; who, when and why are in the record."""
    bank.policy("tiny")
    run = bank.run("weekly_promotion", SECOND, answer=("Approve", REASON))
    assert run.state == "success"
    seen, (asked, answered) = champion(bank), verdicts(bank)[-2:]
    assert (asked["decision"], answered["decision"]) == ("await_signoff", "promote")
    assert (answered["operator"], answered["trigger"]) == ("risk", "manual")
    assert REASON["reason"] in json.dumps(answered)
    assert (seen.generation, seen.pointer.previous_version) == (2, first)
    return str(seen.version)


def is_rejected_as_a_tie(bank: Any, second: str) -> None:
    run = bank.run("weekly_promotion", THIRD)
    assert run.state == "success"
    assert (verdicts(bank)[-1]["decision"], verdicts(bank)[-1]["reason_code"]) == ("reject", "PRIMARY_NOT_IMPROVED")
    assert champion(bank).version == second
    assert bank.states(run)["release"] == "skipped"


def refuses_and_then_forces(bank: Any, first: str) -> None:
    """On-call goes back alone to what served before; a version that never served wants a second, signed-in person."""
    request = {"version": first, "reason": "DI breach on lending since 02:40", "operator": OPERATOR}
    for wrong in ({"version": "v20260101-00000000"}, {"operator": "somebody.else"}):
        assert bank.run("force_promote", FIRST, conf={**request, **wrong}).state == "failed"
        assert champion(bank).generation == 2
    assert bank.run("force_promote", SECOND, conf=request, answer=("Confirm", {})).state == "success"
    last = verdicts(bank)[-1]
    assert (last["decision"], last["operator"], last["reason"]) == ("force_promote", OPERATOR, request["reason"])
    assert (champion(bank).version, champion(bank).generation) == (first, 3)
    events = [row.header["event"] for row in session.rows(bank.settings)]
    assert "force_promote_refused" in events
    never = {**request, "version": bank.context(THIRD).read("package").facts["version"]}
    assert bank.run("force_promote", THIRD, conf=never, answer=("Refuse", {})).state == "failed"
    assert champion(bank).generation == 3
    assert bank.run("force_promote", FOURTH, conf=never, answer=("Confirm", {})).state == "success"
    assert (champion(bank).version, verdicts(bank)[-1]["approver"]) == (never["version"], "risk")


def answers_everybody(bank: Any, version: str) -> None:
    """Branches without a function get the same answers in tables, and each is in the record."""
    run = bank.run("nightly_scoring", FIRST)
    assert run.state == "success"
    night = bank.context(FIRST).read("everyone").facts
    planned = bank.context(FIRST).read("everyone_plan").facts
    assert (night["version"], night["customers"]) == (version, planned["customers"])
    events = [row.header["event"] for row in session.rows(bank.settings, ["log_model_inference"])]
    assert events.count("prediction") >= night["customers"] > 0


def watches_the_night(bank: Any) -> None:
    run = bank.run("nightly_oversight", THIRD)
    assert run.state == "success"
    events = {row.header["event"] for row in session.rows(bank.settings)}
    assert {"verify_result", "drift_window", "fairness_window", "checklist_run"} <= events


def reports_the_quarter(bank: Any) -> None:
    run = bank.run("quarterly_compliance", date(2027, 1, 1), answer=("Reviewed", {"comment": "read all five"}))
    assert run.state == "success"
    keys = bank.context(FIRST).objects.list("reports")
    quarter = {key.split("/")[1] for key in keys if "/2026-Q4/" in key and key.endswith("body.json")}
    assert quarter == {"korean_fria", "eu_risk_record", "annex_iv", "pia", "public_disclosure"}


def finds_a_pointer_written_by_hand(bank: Any) -> None:
    """There is no other path to the champion: a hand-made pointer is red the next night."""
    file = bank.home / "store" / "registry" / "pointer" / "champion.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps(document).replace('"generation": 4', '"generation": 5'))
    run = bank.run("nightly_oversight", SECOND)
    assert run.state == "failed"
    assert bank.states(run)["verify_champion"] == "failed"


@pytest.mark.parametrize("day", [THIRD])
def test_a_week_on_the_real_czech_bank(make_bank: Callable[..., Any], berka_source: Path, day: date) -> None:
    bank = make_bank("berka", source=str(berka_source))
    run = bank.run("weekly_promotion", day)
    assert run.state == "success"
    assert verdicts(bank)[-1]["decision"] == "bootstrap"
    facts = bank.context(day).read("labels").facts["tasks"]
    assert facts["segment_prediction"]["status"] == "disabled"
    assert sum(fact["status"] == "active" for fact in facts.values()) == 7
    assert session.verification(bank.settings).verdict == "INTACT"
    assert champion(bank).version is not None
