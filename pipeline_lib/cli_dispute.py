"""Questions to the record about answers that were given: ``dispute`` answers what was recommended, why, and is it so.

Everything printed comes from the record as of a checkpoint; who asked, and why, becomes part of the record.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

from pipeline_lib import cli_person
from pipeline_lib.audit.similar.explained import Window
from pipeline_lib.business_time import SEOUL
from pipeline_lib.canonical import with_decimals
from pipeline_lib.errors import AuditError
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import open_objects
from pipeline_lib.settings import Settings

log = logging.getLogger(__name__)
LIMITS = ("filters", "review", "suitability", "scope", "exploration")
"""Parts of a package's serving policy that decide what may be shown."""


Verb = Callable[[Settings, argparse.Namespace], int]
Shown = tuple[int, str]
"""Exit code and what to print."""


def add(verbs: Any, run: Verb) -> None:
    """The verbs of this module; ``run`` calls ``asked.act`` and prints what it says."""

    def verb(name: str, act: Callable[[Settings, argparse.Namespace], Shown], text: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text)
        made.set_defaults(run=run, act=act)
        return made

    text = "what was recommended to a customer on a day, by which model and why, and the proof that the record says so"
    made = verb("dispute", dispute, text)
    made.add_argument("--customer", required=True, help="the customer's number, or the pseudonym s_...")
    made.add_argument("--on", type=date.fromisoformat, required=True, help="calendar day, Asia/Seoul")
    made.add_argument("--product", help="only answers that recommended this product")
    made.add_argument(
        "--as-of-checkpoint", type=int, help="the record as this checkpoint covered it; the newest loaded"
    )
    made.add_argument("--case", required=True, help="id of the open case; recorded with every row shown")
    made.add_argument("--reason", required=True, help="why you ask, in 10 characters or more; recorded")
    made.add_argument("--text", type=Path, help="a text the customer shows: was it the one delivered? One item a line")
    made.add_argument("--out", type=Path, required=True, help="folder for answer.json, page.html and the proof")
    text = "answers that came about like a given one: nearest explanations by cosine, in a window of time before it"
    made = verb("similar", similar, text)
    made.add_argument("--prediction-id", required=True)
    made.add_argument("--k", type=int, help="how many; policy when left out")
    made.add_argument("--window-days", type=int, help="how far back; policy when left out")
    made.add_argument("--any", action="append", default=[], choices=["task", "product_category", "ood_flagged"],
                      help="need not be the same; more than once")  # fmt: skip
    made.add_argument("--without-gates-too", action="store_true", help="also answers that the teacher did not explain")
    _bulk(made)
    text = "do like customers hear like reasons? Agreement of explanations by task, product and segment"
    made = verb("agreement", agreed, text)
    _days(made, "", "the window")
    made.add_argument("--task")
    made.add_argument("--product", help="of rank 1")
    _bulk(made)
    text = "does the teacher weigh its experts as it used to? Mean gate weights by task in two windows"
    made = verb("gate-drift", drifted, text)
    _days(made, "before-", "the window before")
    _days(made, "", "the window after")
    _bulk(made)


def dispute(settings: Settings, asked: argparse.Namespace) -> Shown:
    """Exit 0: answered and verified, 1: what is shown does not verify."""
    from pipeline_lib.audit.dispute import files
    from pipeline_lib.audit.dispute.ask import ask
    from pipeline_lib.audit.dispute.question import Question
    from pipeline_lib.serve.record import operator_ref

    text = hashlib.sha256(asked.text.read_bytes().rstrip(b"\n")).hexdigest() if asked.text else None
    question = Question(
        asked.customer, asked.on, asked.case, asked.reason, asked.product, asked.as_of_checkpoint, text
    )  # fmt: skip
    operator = operator_ref(KeyFolder(settings.place.keys).pepper(), cli_person.person())
    if asked.as_of_checkpoint is None:
        _cover(settings)
    answer = ask(settings, question, operator, words_of=lambda *named: Words(settings, *named))
    written = files.write(settings, answer, asked.out)
    said = f"{len(answer.body['answers'])} answers, {len(answer.rows)} entries as of checkpoint " \
           f"{answer.body['as_of']['n']}: {'VERIFIED' if answer.verified else 'NOT VERIFIED'}"  # fmt: skip
    return 0 if answer.verified else 1, "\n".join([said, *map(str, written)])


def _cover(settings: Settings) -> None:
    """Newest answers are under no checkpoint yet; a record that takes none is asked as far as it was covered."""
    from pipeline_lib.audit import session

    try:
        session.commit(settings)
    except AuditError as error:
        log.warning("nothing newer than the last checkpoint is looked at: %s", error)


class Words:
    """Texts and limits of a registered version, read by the hash that the prediction recorded.

    Raises:
        ObjectMissing, ManifestMismatch: the version is not there, or not the one that answered.
    """

    def __init__(self, settings: Settings, version: str, manifest_sha256: str) -> None:
        from pipeline_lib.registry import policies
        from pipeline_lib.serve.reasons import ReasonBook

        read = policies.of(open_objects(settings.place.root), version, manifest_sha256)
        self._book = ReasonBook(read["templates"], read["features"]["groups"], read["products"]["popular"])
        self._meanings = {item["short"]: item["meaning"] for item in read["products"]["products"]}
        self._limits: dict[str, Any] = with_decimals({name: read["serving"].get(name) or {} for name in LIMITS})

    @property
    def limits(self) -> Mapping[str, Any]:
        return self._limits

    def product(self, product_id: str) -> Mapping[str, str] | None:
        known = self._meanings.get(product_id)
        locales = self._book.policy["product_names"].get(product_id)
        return locales or ({"en": known} if known else None)

    def phrase(self, feature: str, task: str, raised: bool) -> Mapping[str, str] | None:
        return self._book.phrase(feature, task, "up" if raised else "down")


def similar(settings: Settings, asked: argparse.Namespace) -> Shown:
    """Prediction ids are shown, no customer."""
    from pipeline_lib.audit.similar.search import FILTERS, Wanted
    from pipeline_lib.audit.similar.search import similar as nearest

    same = tuple(name for name in FILTERS if name not in asked.any)
    wanted = Wanted(
        asked.prediction_id, asked.k, asked.window_days, same, asked.without_gates_too, asked.as_of_checkpoint
    )  # fmt: skip
    found = nearest(settings, wanted)
    return _logged(settings, asked, found, len(found["cases"]))


def agreed(settings: Settings, asked: argparse.Namespace) -> Shown:
    from pipeline_lib.audit.similar.agreement import agreement

    found = agreement(settings, _window(asked, ""), asked.task, asked.product, asked.as_of_checkpoint)
    return _logged(settings, asked, found, sum(group["answers"] for group in found["groups"]))


def drifted(settings: Settings, asked: argparse.Namespace) -> Shown:
    from pipeline_lib.audit.similar.gate_drift import gate_drift

    found = gate_drift(settings, _window(asked, "before_"), _window(asked, ""), asked.as_of_checkpoint)
    return _logged(settings, asked, found, sum(sum(task["answers"]) for task in found["tasks"]))


def _logged(settings: Settings, asked: argparse.Namespace, found: dict[str, Any], rows: int) -> Shown:
    """Record who asked, then show; unknown is printed as unknown."""
    from pipeline_lib.audit.asked import log_bulk
    from pipeline_lib.serve.record import operator_ref

    parameters = {key: value for key, value in found.items() if key not in ("cases", "groups", "tasks")}
    operator = operator_ref(KeyFolder(settings.place.keys).pepper(), cli_person.person())
    log_bulk(settings, operator, asked.reason, ["log_attribution", "log_model_inference"], parameters, rows)
    return 0, json.dumps(found if asked.json else _spelt(found), ensure_ascii=False, indent=None if asked.json else 1)


def _spelt(value: Any) -> Any:
    """For people: what is not known says so."""
    if isinstance(value, dict):
        return {key: _spelt(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_spelt(item) for item in value]
    return "unknown" if value is None else value


def _bulk(made: argparse.ArgumentParser) -> None:
    made.add_argument("--reason", required=True, help="why you ask, in 10 characters or more; recorded")
    made.add_argument(
        "--as-of-checkpoint", type=int, help="the record as this checkpoint covered it; the newest loaded"
    )
    made.add_argument("--json", action="store_true", help="one line of JSON, null where it is unknown")


def _days(made: argparse.ArgumentParser, prefix: str, what: str) -> None:
    made.add_argument(
        f"--{prefix}from", type=date.fromisoformat, required=True, help=f"first day of {what}, Asia/Seoul"
    )
    made.add_argument(f"--{prefix}to", type=date.fromisoformat, required=True, help=f"day after the last of {what}")


def _window(asked: argparse.Namespace, prefix: str) -> Window:
    first, last = (getattr(asked, f"{prefix}{name}") for name in ("from", "to"))
    return Window(*(datetime(day.year, day.month, day.day, tzinfo=SEOUL) for day in (first, last)))
