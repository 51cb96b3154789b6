"""``pipeline``: what people do without Airflow. Exit codes: 0 done, 1 found something wrong, 2 refused or failed."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from pipeline_lib import (
    cli_counterfactual,
    cli_dispute,
    cli_keys,
    cli_person,
    cli_privacy,
    cli_promote,
    cli_registry,
    cli_switch,
    cli_witness,
    settings,
)
from pipeline_lib.business_time import last_promotion_day, utc_now
from pipeline_lib.errors import PipelineError, RequestRefused
from pipeline_lib.keys import KeyFolder
from pipeline_lib.runs import RunContext
from pipeline_lib.settings import Settings

STAGES = {
    "ingest": "ingest.load:ingest",
    "labels": "ingest.labels:label",
    "check_tables": "features.check:check_tables",
    "features_fit": "features.build:fit_features",
    "features_part": "features.build:build_part",
    "features": "features.build:build",
    "check_features": "features.check:check_features",
    "teacher": "teacher.train:train",
    "student": "distill.student:fit_student",
    "distill": "distill.assemble:assemble",
    "check_scores": "features.check_scores:check_scores",
    "package": "publish.package:package",
    "score": "serve.batch:score",
    "drift": "monitor.successive:drift",
    "logged": "monitor.counterfactual.logged:log",
    "replay": "serve.replay:replay",
    "counterfactual": "monitor.counterfactual.stage:compare",
    "gate": "gate.decide:decide",
    "publish": "publish.release:publish",
    "everyone_plan": "serve.everyone:plan",
    "everyone_part": "serve.everyone:score_range",
    "everyone": "serve.everyone:close",
}
"""Stage -> where it is, imported only when asked for."""

Verb = Callable[[Settings, argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if asked.verbose else logging.WARNING, format="%(message)s")
    try:
        return int(asked.run(settings.load(), asked))
    except PipelineError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2


def stage(place: Settings, asked: argparse.Namespace) -> int:
    """Run one stage; the stages before it must be finished."""
    ctx = RunContext.open(place, asked.date)
    name, _, task = asked.name.partition(".")
    options = _by_hand(asked.promotable) if name == "gate" else {}
    out = _stage(name)(ctx, task) if task else _stage(name)(ctx, **options)
    print(f"{out.stage} {asked.date} {out.content_hash}")
    if out.facts.get("why_dry_run"):
        print(f"dry run: {out.facts['why_dry_run']}")
    return 0


def _by_hand(promotable: bool) -> dict[str, Any]:
    """A gate asked from a shell was started by whoever types: a dry run unless they say otherwise."""
    from pipeline_lib.serve import probe

    return {"started_by": cli_person.person(), "promotable": promotable, "smoke": probe.answers}


def summary(place: Settings, asked: argparse.Namespace) -> int:
    from pipeline_lib.summary import text

    print(text(RunContext.open(place, asked.date)))
    return 0


def manifests(place: Settings, asked: argparse.Namespace) -> int:
    """Content hash of every finished stage of a date: two runs are equal when these lines are."""
    ctx = RunContext.open(place, asked.date)
    prefix = f"runs/{ctx.dataset}/{asked.date}"
    for key in ctx.objects.list(prefix):
        if key.endswith("/manifest.json"):
            out = ctx.read(key.removeprefix(prefix + "/").removesuffix("/manifest.json"))
            print(f"{out.content_hash}  {out.stage}")
    return 0


def verify(place: Settings, asked: argparse.Namespace) -> int:
    """Verify the whole record; exit 1 and name the first bad entry unless it is intact."""
    from pipeline_lib.audit import session
    from pipeline_lib.audit.verify import verification_page

    report = session.verification(place, kept=cli_witness.kept(asked.witness))
    print(json.dumps(report.to_dict(), indent=2) if asked.json else verification_page(report))
    return 0 if report.verdict == "INTACT" else 1


def champion(place: Settings, asked: argparse.Namespace) -> int:
    """Show which version serves and which decision made it so."""
    from pipeline_lib.registry import pointer

    ctx = RunContext.open(place, last_promotion_day(utc_now()))
    found = pointer.read(ctx.objects, KeyFolder(place.place.keys))
    if found.pointer is None:
        print("no champion yet")
        return 1
    now = found.pointer
    shown = {
        "version": now.version,
        "generation": now.generation,
        "decision": now.decision_id,
        "since": now.activated_at,
    }
    print(json.dumps(shown) if asked.json else "\n".join(f"{k:<11} {v}" for k, v in shown.items()))
    return 0


def promote(place: Settings, asked: argparse.Namespace) -> int:
    """Force, roll back, approve, reject, confirm; registry; keys: exit codes of their own."""
    code, shown = cli_promote.run(place, asked)
    text = json.dumps(shown) if asked.json else cli_promote.text(shown)
    print(text, file=sys.stdout if asked.json or not code else sys.stderr)
    return code


def counterfactual(place: Settings, asked: argparse.Namespace) -> int:
    """Judge one version against another on logged answers; changes nothing."""
    from pipeline_lib.monitor.counterfactual import page

    body = cli_counterfactual.compare(place, asked)
    print(json.dumps(body) if asked.json else page.text(body), end="\n" if asked.json else "")
    return 0


def ask_record(place: Settings, asked: argparse.Namespace) -> int:
    """A question to the record about answers that were given; each has its own function in ``cli_dispute``."""
    code, text = asked.act(place, asked)
    print(text)
    return int(code)


def verdict(place: Settings, asked: argparse.Namespace) -> int:
    """Compute a verdict of the gate again from its row and its evidence; exit 1 when anything comes out otherwise."""
    from pipeline_lib.gate.recompute import recompute

    found = recompute(place, asked.decision_id)
    print(f"{found.decision.decision} {found.decision.reason_code}, {found.decision.challenger_version}: "
          f"{found.values} values computed again, {len(found.differences)} differ")  # fmt: skip
    if found.differences:
        _table(["where", "recorded", "now"], found.differences)
    return int(bool(found.differences))


def leaks(_: Settings, asked: argparse.Namespace) -> int:
    """Plant every leak on a small bank, judge real raw tables, and print which check finds what."""
    from pipeline_lib.features.plants import run_plants
    from pipeline_lib.features.plants.real import run_real

    rows = run_plants() + run_real(dict(asked.real))
    _table(["plant", "check", "verdict", "message"], [tuple(row) for row in rows])
    return int(any(row.verdict not in {"CAUGHT", "PASSED"} for row in rows))


def acknowledge(place: Settings, asked: argparse.Namespace) -> int:
    """Record that somebody has seen a warning; the next run of the check shows it."""
    from pipeline_lib.features import leak_acks

    ctx = RunContext.open(place, asked.date)
    print(leak_acks.acknowledge(ctx, asked.check, asked.column, asked.label, asked.by, asked.reason))
    return 0


def source(place: Settings, asked: argparse.Namespace) -> int:
    """Write the synthetic bank as raw files, as another bank would deliver them."""
    from pipeline_lib.ingest.synthetic.raw.writer import write

    given = {"customers": asked.customers, "seed": asked.seed, "world_start": asked.start, "min_months": 1}
    params = {**place.source.params, **{name: value for name, value in given.items() if value is not None}}
    bank = place.source.model_copy(update={"params": params})
    rows = write(bank, asked.out, asked.until, asked.dirt, with_events=not asked.no_events)
    print(f"{asked.out}: {rows['snapshots']} rows of snapshots, {rows['events']} events")
    return 0


def tamper(_: Settings, __: argparse.Namespace) -> int:
    """Attack a small record in every way and print what verification finds."""
    from pipeline_lib.audit.tamper_drill import run_drill

    rows = run_drill()
    _table(["case", "detected", "finding", "where"], [tuple(row) for row in rows])
    good = {"-": "INTACT", "yes": None}
    return int(any(row.detected not in good or good[row.detected] not in (None, row.finding) for row in rows))


def _stage(name: str) -> Callable[..., Any]:
    if name not in STAGES:
        raise RequestRefused(f"no stage {name!r}; known: {', '.join(STAGES)}")
    module, _, function = STAGES[name].partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(f"pipeline_lib.{module}"), function)
    return found


def _named_folder(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    if not folder:
        raise argparse.ArgumentTypeError(f"expected DATASET=FOLDER, found {text!r}")
    return name, Path(folder)


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    widths = [max(len(str(line[i])) for line in [head, *rows]) for i in range(len(head) - 1)]
    for line in [head, *rows]:
        cells = [str(cell).ljust(width) for cell, width in zip(line, widths, strict=False)]
        print("  ".join([*cells, str(line[len(head) - 1])]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pipeline", description=__doc__)
    parser.add_argument("--verbose", "-v", action="store_true", help="show the library's log lines")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, run: Verb, text: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        return made

    dated = {"type": date.fromisoformat, "default": last_promotion_day(utc_now()), "help": "the run's Monday"}
    cli_keys.add(verbs).set_defaults(run=promote)
    one = verb(
        "stage", stage, "run one stage of a run (student.<task> for one student, features_part.<number> for one range)"
    )
    one.add_argument("name")
    one.add_argument("--date", **dated)  # type: ignore[arg-type]
    one.add_argument("--promotable", action="store_true",
                     help="gate only: judge for real, not a dry run; you may not approve it then")  # fmt: skip
    verb("summary", summary, "what a run did and where to look").add_argument("--date", **dated)  # type: ignore[arg-type]
    verb("manifests", manifests, "content hash of every stage of a run").add_argument("--date", **dated)  # type: ignore[arg-type]
    whole = verb("verify", verify, "verify the whole audit record")
    whole.add_argument("--json", action="store_true")
    whole.add_argument("--witness", type=Path, nargs="+", default=[], metavar="FILE", help="notes kept outside")
    cli_witness.add(verbs, ask_record)
    verb("champion", champion, "which version serves, and by which decision").add_argument(
        "--json", action="store_true"
    )
    cli_promote.add(verbs).set_defaults(run=promote)
    cli_registry.add(verbs).set_defaults(run=promote)
    for made in cli_privacy.add(verbs):
        made.set_defaults(run=promote)
    cli_switch.add(verbs).set_defaults(run=promote)
    cli_counterfactual.add(verbs).set_defaults(run=counterfactual)
    cli_dispute.add(verbs, ask_record)
    judged = verb("verdict", verdict, "compute a verdict of the gate again from the record and its evidence")
    judged.add_argument("what", choices=["recompute"])
    judged.add_argument("decision_id")
    planted = verb("leaks", leaks, "plant every leak, print who catches it")
    planted.add_argument("--real", type=_named_folder, action="append", default=[], metavar="DATASET=FOLDER",
                         help="judge the raw tables of a real source too")  # fmt: skip
    seen = verb("acknowledge", acknowledge, "acknowledge a warning of a leakage check, for this configuration")
    seen.add_argument("check", help="its id, e.g. L20")
    seen.add_argument("column", help="column, file or group that the report names")
    seen.add_argument("--label", default="", help="label that the report names, if any")
    seen.add_argument("--by", required=True, help="who has seen it")
    seen.add_argument("--reason", required=True, help="why it may stand")
    seen.add_argument("--date", **dated)  # type: ignore[arg-type]
    raw = verb("source", source, "write the synthetic bank as raw files: contract A as CSV, contract B as Parquet")
    raw.add_argument("what", choices=["write"])
    raw.add_argument("--out", type=Path, required=True, help="an empty folder")
    raw.add_argument("--customers", type=int, help="how many; the source's own number when left out")
    raw.add_argument("--seed", type=int)
    raw.add_argument("--start", default="2015-01-28", help="first snapshot")
    raw.add_argument("--until", type=date.fromisoformat, default="2016-06-06", help="logical date of the newest load")
    raw.add_argument("--dirt", choices=["none", "realistic", "hostile"], default="none")
    raw.add_argument("--no-events", action="store_true", help="snapshots only, as in the real set")
    verb("tamper", tamper, "attack a record in every way, print what is found")
    return parser


if __name__ == "__main__":
    sys.exit(main())
