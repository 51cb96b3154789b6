"""``pipeline promote``: what a person does to the champion without Airflow's web page, through the same functions.

The person is the system user who types; ``--operator`` must be that name. Where everybody shares one system user,
as in a container, use the web page: there the name is a login. A version that takes two is forced with
``--approver <name>``: the request is recorded, and nothing changes until that person types ``confirm`` under their own
login, within the hour. Exit codes: 0 done or nothing to do, 2 refused, 3 store or record could not be used, 4 the
version did not answer and the former one serves again, 5 somebody else is judging or releasing, try again, 6 recorded,
and waits for the second person. Source: promotion.md sections 8, 9 and 12.
"""

from __future__ import annotations

import argparse
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from pipeline_lib import cli_person
from pipeline_lib.business_time import SEOUL
from pipeline_lib.cli_person import Shown, add_person, command
from pipeline_lib.errors import ActivationFailed, DoneUnrecorded, LockBusy, PipelineError, RequestRefused, SettingsError
from pipeline_lib.settings import Settings

CODES: tuple[tuple[type[PipelineError], int], ...] = (
    (RequestRefused, 2),
    (SettingsError, 2),
    (ActivationFailed, 4),
    (LockBusy, 5),
    (DoneUnrecorded, 7),
    (PipelineError, 3),
)
"""First match wins. Source: promotion.md section 12."""
WAITS = 6


def run(settings: Settings, asked: argparse.Namespace) -> tuple[int, Shown]:
    """Exit code, and what came of it as plain values."""
    try:
        shown = asked.act(settings, asked)
        return (WAITS if "waits_for" in shown else 0), shown
    except PipelineError as error:
        code = next(code for kind, code in CODES if isinstance(error, kind))
        return code, {"error": type(error).__name__, "message": str(error), "exit": code}


def text(shown: Shown) -> str:
    """The same for a person to read."""
    if "error" in shown:
        return f"{shown['error']}: {shown['message']}"
    if "versions" in shown:
        return "\n".join(_status_lines(shown))
    return "\n".join(f"{name.replace('_', ' '):<16} {_plain(value)}" for name, value in shown.items())


def force(settings: Settings, asked: argparse.Namespace) -> Shown:
    from pipeline_lib.gate import force as forced

    asked.request_id = asked.request_id or str(uuid.uuid4())
    if asked.approver and (waits := _waits(settings, asked)):
        return waits
    return _decided_and_released(settings, asked, forced.force_promote, asked.version, approver=asked.approver,
                                 allow_quarantined=asked.allow_quarantined)  # fmt: skip


def rollback(settings: Settings, asked: argparse.Namespace) -> Shown:
    from pipeline_lib.gate import force as forced

    return _decided_and_released(settings, asked, forced.rollback)


def approve(settings: Settings, asked: argparse.Namespace) -> Shown:
    from pipeline_lib.gate import signoff

    start = time.monotonic()
    decision = signoff.conclude(settings, _question(settings, asked), "Approve", cli_person.person(), asked.statement)
    return _released(settings, decision.decision_id, start)


def reject(settings: Settings, asked: argparse.Namespace) -> Shown:
    from pipeline_lib.gate import signoff

    decision = signoff.conclude(settings, _question(settings, asked), "Reject", cli_person.person(), asked.statement)
    return {
        "version": decision.challenger_version,
        "decision": decision.decision_id,
        "outcome": decision.reason_code,
        "by": decision.operator,
    }


def confirm(settings: Settings, asked: argparse.Namespace) -> Shown:
    from pipeline_lib.gate import confirm as confirming
    from pipeline_lib.gate import pending

    answer: confirming.Answer = "Object" if asked.object else "Confirm"
    owed = [one.decision_id for one in confirming.waiting(settings)]
    asked_for = [one.decision_id for one in pending.waiting(settings)]
    decision_id = asked.decision or _only([*owed, *asked_for], "force-promote waits for a second person")
    if pending.find(settings, decision_id):
        return _agreed(settings, asked, decision_id)
    return {
        "decision": decision_id,
        **confirming.confirm(settings, decision_id, cli_person.person(), answer, asked.statement or ""),
    }


def _waits(settings: Settings, asked: argparse.Namespace) -> Shown | None:
    """The request as recorded, when it needs the approver's own word first; None when it does not."""
    from pipeline_lib.gate import pending
    from pipeline_lib.gate.request import Request

    request = Request.typed(asked.version, asked.operator, asked.reason, asked.request_id, approver=asked.approver,
                            ticket=asked.ticket, allow_quarantined=asked.allow_quarantined)  # fmt: skip
    one = pending.ask(settings, request, cli_person.person())
    if one is None:
        return None
    return {
        "version": one.request.version,
        "serving": None,
        "decision": one.decision_id,
        "why": one.why,
        "waits_for": one.request.approver,
        "until": one.until.isoformat(),
        "request": one.request.request_id,
    }


def _agreed(settings: Settings, asked: argparse.Namespace, decision_id: str) -> Shown:
    """The second person's word on a request that waits: it is decided and released, or over."""
    from pipeline_lib.gate import pending
    from pipeline_lib.serve import probe

    start, second = time.monotonic(), cli_person.person()
    if asked.object:
        one = pending.decline(settings, decision_id, second, asked.statement or "")
        return {
            "version": one.request.version,
            "decision": decision_id,
            "outcome": "DECLINED",
            "by": second,
        }
    decision, _ = pending.agree(settings, decision_id, second, probe.answers)
    return {**_released(settings, decision.decision_id, start), "by": second}


def status(settings: Settings, _: argparse.Namespace) -> Shown:
    from pipeline_lib.gate import standing

    return standing.standing(settings)


def _decided_and_released(
    settings: Settings, asked: argparse.Namespace, decide: Callable[..., Any], *given: Any, **options: Any
) -> Shown:
    from pipeline_lib.gate import force as forced
    from pipeline_lib.serve import probe

    start, request_id = time.monotonic(), asked.request_id or str(uuid.uuid4())
    decision, _ = decide(
        settings, *given, asked.operator, asked.reason,
        request_id=request_id, ticket=asked.ticket, principal=cli_person.person(),
        smoke=probe.answers, **options,
    )  # fmt: skip
    code = forced.outcome(decision, request_id)
    return {**_released(settings, decision.decision_id, start), "outcome": code, "request": request_id}


def _released(settings: Settings, decision_id: str, start: float) -> Shown:
    from pipeline_lib.audit import session
    from pipeline_lib.gate.confirm import due_of
    from pipeline_lib.objects import open_objects
    from pipeline_lib.publish import release
    from pipeline_lib.registry import decisions
    from pipeline_lib.serve import probe

    decided = time.monotonic()
    stored = decisions.get(open_objects(settings.place.root), decision_id)
    result = release.release(settings, stored.decision, stored.receipt, probe=probe.answers)
    serves = time.monotonic()
    session.commit(settings)
    owed = due_of(stored.decision)
    return {
        "version": result.version,
        "serving": result.serving,
        "generation": result.generation,
        "decision": decision_id,
        "outcome": stored.decision.reason_code,
        "review_due": stored.decision.body["review_due"],
        "confirm_until": owed.due.isoformat() if owed else None,
        "seconds": {"decide": round(decided - start, 2), "release": round(serves - decided, 2)},
    }


def _question(settings: Settings, asked: argparse.Namespace) -> str:
    from pipeline_lib.gate import question

    if asked.decision:
        return str(asked.decision)
    waiting = question.open_ones(settings)
    return _only([str(one["decision_id"]) for one in waiting], "challenger waits for a sign-off")


def _only(found: list[str], what: str) -> str:
    if not found:
        raise RequestRefused(f"no {what}")
    if len(found) > 1:
        raise RequestRefused(f"more than one {what}; name it with --decision: {', '.join(found)}")
    return found[0]


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return "none" if value is None else str(value)


def _status_lines(shown: Shown) -> Iterator[str]:
    yield f"{'champion':<16} {_plain(shown['champion'])} (generation {shown['generation']})"
    yield f"{'served before':<16} {_plain(shown['previous'])}"
    yield ""
    yield f"{'version':<20} {'state':<17} {'served h':>8}  {'last verdict':<22} one person may force it"
    for one in shown["versions"]:
        alone = f"no: {one['not_known_good']}" if one["not_known_good"] else "yes"
        alone = "it serves" if one["version"] == shown["champion"] else alone
        verdict = one["last_verdict"] or "never judged"
        yield f"{one['version']:<20} {one['state']:<17} {one['hours_served']:>8}  {verdict:<22} {alone}"
    yield ""
    for one in shown["questions"]:
        yield f"sign-off of {one['version']} until {_local(one['expires_at'])} (decision {one['decision_id']})"
    for one in shown["confirmations"]:
        late = "OVERDUE since" if one["overdue"] else "until"
        yield f"second person for {one['version']}, forced by {one['operator']}, {late} {_local(one['due'])} " \
              f"(decision {one['decision_id']})"  # fmt: skip
    for one in shown["requests"]:
        yield f"{one['operator']} asks {one['approver']} to agree to {one['version']} until {_local(one['until'])} " \
              f"(decision {one['decision_id']})"  # fmt: skip
    if not shown["questions"] and not shown["confirmations"] and not shown["requests"]:
        yield "nobody's answer is missing"


def _local(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone(SEOUL):%a %d %b %H:%M} Seoul"


def add(verbs: Any) -> argparse.ArgumentParser:
    """The commands under ``promote``."""
    promote: argparse.ArgumentParser = verbs.add_parser(
        "promote", help="force, roll back, approve, reject, confirm; what serves and what could", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    acts = promote.add_subparsers(required=True, metavar="ACTION")
    command(acts, "status", status, "what serves, which versions one person may bring back, whose answer is missing")
    one = command(acts, "force", force, "make a registered version the champion now")
    one.add_argument("--version", required=True, help="e.g. v20261109-7632e51c; `promote status` lists them")
    one.add_argument(
        "--allow-quarantined", action="store_true", help="the target is marked as known bad, and two agree"
    )
    one.add_argument("--approver", help="the second person's system user; mandatory unless the version is known-good. "
                                        "Nothing changes until they type `promote confirm`")  # fmt: skip
    _person(one)
    _person(command(acts, "rollback", rollback, "force the version that served before"))
    for name, act, text_ in (("approve", approve, "approve the challenger that waits, and release it"),
                             ("reject", reject, "decline the challenger that waits")):  # fmt: skip
        answer = command(acts, name, act, text_)
        answer.add_argument("--statement", required=name == "approve", default="", help="why; 10 characters or more")
        answer.add_argument("--decision", help="the gate's verdict; needed only when more than one waits")
    second = command(acts, "confirm", confirm, "agree, as the second person, to what somebody asks or has forced")
    second.add_argument("--decision", help="which; needed only when more than one waits")
    second.add_argument("--statement", help="what you looked at")
    second.add_argument(
        "--object", action="store_true", help="object instead: ends a request; of a forced version, an incident"
    )
    return promote


def _person(made: argparse.ArgumentParser) -> None:
    add_person(made)
    made.add_argument("--ticket", help="e.g. INC-48213")
    made.add_argument("--request-id", help="the same id again is the same request; made up when left out")
