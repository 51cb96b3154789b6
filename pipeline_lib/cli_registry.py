"""``pipeline registry``: what a person does to the registry itself; none of it chooses a champion.

    check                                              does everything around the pointer agree with the record?
    reconcile                                          finish or void what a crash left
    repair-pointer --operator --reason                 build a lost or edited pointer again from the record
    quarantine VERSION --operator --reason             mark a version as known bad
    lift VERSION --operator --reason                   take that mark away
    rotate-key package|pointer --operator --reason     sign with a new key; the old one still verifies

Exit codes: 0 done or nothing to do, 2 refused, 3 something does not agree or could not be used, 5 somebody else is
judging or releasing, try again. Source: promotion.md sections 2 and 12.
"""

from __future__ import annotations

import argparse
from typing import Any

from pipeline_lib.cli_person import Shown, add_person, command, operator
from pipeline_lib.settings import Settings


def check(settings: Settings, _: argparse.Namespace) -> Shown:
    from pipeline_lib.publish import oversight

    return oversight.verify_champion(settings)


def reconcile(settings: Settings, _: argparse.Namespace) -> Shown:
    return {"repaired": _reconciled(settings)}


def repair_pointer(settings: Settings, asked: argparse.Namespace) -> Shown:
    from pipeline_lib.registry import repair

    made = repair.repair_pointer(settings, operator(asked), asked.reason)
    return {
        "version": made.version,
        "generation": made.generation,
        "decision": made.decision_id,
        "repaired": _reconciled(settings),
    }


def quarantine(settings: Settings, asked: argparse.Namespace) -> Shown:
    from pipeline_lib.registry import quarantine as marks

    document = marks.quarantine(settings, asked.version, operator(asked), asked.reason)
    return {"version": document["version"], "state": document["state"], **document["quarantine"]}


def lift(settings: Settings, asked: argparse.Namespace) -> Shown:
    from pipeline_lib.registry import quarantine as marks

    document = marks.lift(settings, asked.version, operator(asked), asked.reason)
    return {"version": document["version"], "state": document["state"]}


def rotate_key(settings: Settings, asked: argparse.Namespace) -> Shown:
    from pipeline_lib.registry import rotation

    old, new = rotation.rotate(settings, asked.purpose, operator(asked), asked.reason)
    return {"purpose": asked.purpose, "old_key": old, "new_key": new}


def add(verbs: Any) -> argparse.ArgumentParser:
    """The commands under ``registry``."""
    registry: argparse.ArgumentParser = verbs.add_parser(
        "registry", help="check, repair, quarantine; keys of the signatures", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    acts = registry.add_subparsers(required=True, metavar="ACTION")
    command(acts, "check", check, "does everything around the pointer agree with the record? Recorded either way")
    command(acts, "reconcile", reconcile, "finish or void what a crash left")
    add_person(command(acts, "repair-pointer", repair_pointer, "build a lost or edited pointer again from the record"))
    for name, act, text in (
        ("quarantine", quarantine, "mark a version as known bad: judged by no gate, forced only by two"),
        ("lift", lift, "take that mark away: the version may be judged again"),
    ):
        marked = command(acts, name, act, text)
        marked.add_argument("version", help="e.g. v20261109-7632e51c")
        add_person(marked)
    turned = command(acts, "rotate-key", rotate_key, "sign with a new key; what the old one signed still verifies")
    turned.add_argument("purpose", choices=["package", "pointer"])
    add_person(turned)
    return registry


def _reconciled(settings: Settings) -> list[str]:
    from pipeline_lib.publish import release
    from pipeline_lib.serve import probe

    return release.reconcile(settings, probe=probe.answers)
