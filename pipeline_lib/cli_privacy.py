"""``pipeline privacy`` and ``pipeline retention``: erase a customer, hold everything, let payloads expire.

    privacy request --customer N --ticket T --operator --reason    one person asks
    privacy approve REQUEST --statement                            two others approve, each under their own login
    privacy execute REQUEST                                        then it is erased; cut off, the same again
    privacy hold|release (--customer N | --everybody) --ticket T --operator --reason
    privacy status
    retention [--table T] [--execute --operator --reason]          payloads whose time is over; shown only, or dropped

Exit codes as of ``pipeline promote``: 0 done, 2 refused, 3 state or record could not be used, 6 recorded and waits.
Source: audit.md 5.1, 8.4.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from pipeline_lib import cli_person
from pipeline_lib.cli_person import Shown, add_person, command, operator
from pipeline_lib.errors import RequestRefused
from pipeline_lib.settings import Settings
from pipeline_lib.settings.audit import FLOOR_DAYS


def request(settings: Settings, asked: argparse.Namespace) -> Shown:
    from pipeline_lib.oversee import erasure

    return erasure.ask(settings, asked.customer, operator(asked), asked.reason, asked.ticket)


def approve(settings: Settings, asked: argparse.Namespace) -> Shown:
    from pipeline_lib.oversee import erasure

    return erasure.approve(settings, asked.request, cli_person.person(), asked.statement)


def execute(settings: Settings, asked: argparse.Namespace) -> Shown:
    from pipeline_lib.oversee import erasure

    return erasure.execute(settings, asked.request, cli_person.person())


def hold(settings: Settings, asked: argparse.Namespace) -> Shown:
    from pipeline_lib.oversee import legal_hold

    return legal_hold.hold(settings, asked.customer, operator(asked), asked.reason, asked.ticket)


def release(settings: Settings, asked: argparse.Namespace) -> Shown:
    from pipeline_lib.oversee import legal_hold

    return legal_hold.release(settings, asked.customer, operator(asked), asked.reason, asked.ticket)


def status(settings: Settings, asked: argparse.Namespace) -> Shown:
    from pipeline_lib.oversee import erasure

    found = erasure.status(settings)
    if asked.json:
        return found
    shown: Shown = {one["request"]: _said(one) for one in found["requests"]}
    return {**shown, "holds": ", ".join(f"{one['on']} since {one['since']}" for one in found["holds"]) or "none"}


def retention(settings: Settings, asked: argparse.Namespace) -> Shown:
    from pipeline_lib.audit import expiry

    tables = [asked.table] if asked.table else []
    if asked.execute:
        if not asked.operator or not asked.reason:
            raise RequestRefused("--execute takes --operator and --reason")
        return dict(expiry.expire(settings, *_named(settings, asked), tables))
    due: dict[str, int] = {}
    for drop in expiry.due(settings, tables):
        due[drop.table] = due.get(drop.table, 0) + len(drop.seqs)
    return {"would drop": json.dumps(due) if due else "nothing", "frozen": expiry.frozen(settings) or "no"}


def _named(settings: Settings, asked: argparse.Namespace) -> tuple[str, str]:
    from pipeline_lib.registry import persons

    return persons.named(operator(asked), asked.reason, settings.promotion.force)


def _said(one: dict[str, Any]) -> str:
    approved = ", ".join(one["approved_by"]) or "nobody"
    return f"{one['state']}, {one['ticket']}, asked by {one['asked_by']}, approved by {approved}"


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> list[argparse.ArgumentParser]:
    """The commands under ``privacy``, and ``retention``."""
    raw = argparse.RawDescriptionHelpFormatter
    text = "erase a customer, legal holds"
    made = verbs.add_parser("privacy", help=text, description=__doc__, formatter_class=raw)
    acts = made.add_subparsers(required=True, metavar="ACTION")
    one = command(acts, "request", request, "ask that a customer be erased")
    one.add_argument("--customer", required=True, help="the customer's number; it is written nowhere")
    one.add_argument("--ticket", required=True, help="where the customer asked for it")
    add_person(one)
    two = command(acts, "approve", approve, "approve as one of two who did not ask")
    two.add_argument("request", help="as `request` printed it")
    two.add_argument("--statement", required=True, help="what you looked at; 10 characters or more")
    command(acts, "execute", execute, "erase what was approved").add_argument("request")
    for name, act, said in (("hold", hold, "nothing is erased and nothing expires"), ("release", release, "end it")):
        three = command(acts, name, act, said)
        who = three.add_mutually_exclusive_group(required=True)
        who.add_argument("--customer", help="the customer's number")
        who.add_argument("--everybody", action="store_const", const=None, dest="customer")
        three.add_argument("--ticket", required=True, help="the case")
        add_person(three)
    command(acts, "status", status, "requests and holds")
    text = "payloads whose time is over: shown, or dropped with --execute"
    last = verbs.add_parser("retention", help=text, description=__doc__, formatter_class=raw)
    last.add_argument("--json", action="store_true", help="one JSON object instead of text, errors too")
    last.add_argument("--table", choices=sorted(FLOOR_DAYS), help="only this one")
    last.add_argument("--execute", action="store_true", help="drop them")
    last.add_argument("--operator", help="your system user, as `whoami` prints it")
    last.add_argument("--reason", help="why now, in 10 to 500 characters")
    last.set_defaults(act=retention)
    return [made, last]
