"""``pipeline switch``: stop models for everybody, one task or one cluster; what is stopped; let them answer again.

Firing takes one person and works at the next request. Clearing takes two: one types ``clear``, another ``agree`` under
their own login, within the hour. Exit codes as of ``pipeline promote``: 0 done, 2 refused, 3 state or record could not
be used and nothing changed, 6 recorded, and waits for the second person, 7 done, and neither record nor store keeps it:
keep what was printed.
"""

from __future__ import annotations

import argparse
import uuid

from pipeline_lib import cli_person
from pipeline_lib.cli_person import Shown, add_person, command, operator
from pipeline_lib.settings import Settings


def status(settings: Settings, _: argparse.Namespace) -> Shown:
    from pipeline_lib.oversee import kill_switch

    on = [one for one in kill_switch.board(settings) if one.active]
    return {"on": ", ".join(f"{one.switch_id} ({one.fallback}, version {one.version})" for one in on) or "none"}


def fire(settings: Settings, asked: argparse.Namespace) -> Shown:
    from pipeline_lib.oversee import kill_switch
    from pipeline_lib.oversee.switch_state import Switch

    switch = Switch.typed(settings, asked.scope, asked.target, asked.fallback)
    request_id = asked.request_id or str(uuid.uuid4())
    return kill_switch.fire(settings, switch, operator(asked), asked.reason, request_id, asked.ticket)


def clear(settings: Settings, asked: argparse.Namespace) -> Shown:
    from pipeline_lib.oversee import kill_switch

    return kill_switch.ask_to_clear(settings, asked.switch, operator(asked), asked.reason, asked.ticket, asked.evidence)


def agree(settings: Settings, asked: argparse.Namespace) -> Shown:
    from pipeline_lib.oversee import kill_switch

    return kill_switch.clear(settings, asked.switch, cli_person.person(), asked.statement)


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """The commands under ``switch``."""
    switch = verbs.add_parser(
        "switch", help="kill switch: stop models at once; two people let them answer again", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    acts = switch.add_subparsers(required=True, metavar="ACTION")
    command(acts, "status", status, "what is on")
    one = command(acts, "fire", fire, "stop models now")
    one.add_argument("--scope", required=True, choices=["global", "task", "cluster"])
    one.add_argument("--target", default="*", help="name of the task, number of the cluster")
    one.add_argument("--fallback", default="rule_based", choices=["rule_based", "disable"],
                     help="rules answer, or nothing personal at all")  # fmt: skip
    one.add_argument("--request-id", help="the same id again is the same request; made up when left out")
    one.add_argument("--ticket", help="e.g. INC-48213")
    add_person(one)
    two = command(acts, "clear", clear, "ask a second person to let models answer again")
    two.add_argument("--switch", required=True, help="as `status` prints it")
    two.add_argument("--ticket", required=True, help="the incident, e.g. INC-48213")
    two.add_argument("--evidence", required=True, help="what shows that the cause is gone")
    add_person(two)
    three = command(acts, "agree", agree, "agree, as the second person")
    three.add_argument("--switch", required=True, help="as `status` prints it")
    three.add_argument("--statement", required=True, help="what you looked at; 10 characters or more")
    return switch
