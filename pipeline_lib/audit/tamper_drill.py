"""Attack a small record in every way we know and see what verification says.

A record is made in a scratch place with keys of its own, under the shipped policy: streams of several processes, rows
recorded once, two checkpoints, a loaded query store, and rows above the newest checkpoint. Each attack gets a fresh
copy. A case counts as detected when the verdict is TAMPERED and the expected finding is among the codes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline_lib import settings as settings_module
from pipeline_lib import signing
from pipeline_lib.audit import attacks, catalogue, session, verify
from pipeline_lib.audit.attacks import Scene
from pipeline_lib.audit.segment import Entry
from pipeline_lib.keys import KeyFolder
from pipeline_lib.records import Receipt
from pipeline_lib.settings import Place, Settings

UNTOUCHED = "untouched"


class DrillRow(NamedTuple):
    case: str
    detected: str
    """``yes``, ``no``, or ``-`` for the untouched record."""
    finding: str
    where: str


@dataclass(frozen=True)
class _Built:
    """The record before any attack."""

    settings: Settings
    folder: Path
    receipts: tuple[Receipt, ...]
    """Of rows above the newest checkpoint."""


def run_drill() -> list[DrillRow]:
    """Every attack once; the first row is the untouched record."""
    shipped = settings_module.load("synthetic", Place())
    with tempfile.TemporaryDirectory(prefix="record-drill-") as name:
        built = _build(_at(shipped, Path(name) / "before"), Path(name) / "before")
        rows = [_attacked(built, Path(name), UNTOUCHED, lambda scene: None, "")]
        for case, (attack, expected) in attacks.ATTACKS.items():
            rows.append(_attacked(built, Path(name), case, attack, expected))
        return rows


def _attacked(built: _Built, scratch: Path, case: str, attack: Callable[[Scene], None], expected: str) -> DrillRow:
    folder = scratch / "attacked"
    shutil.copytree(built.folder, folder)
    settings = _at(built.settings, folder)
    scene = Scene(settings, KeyFolder(settings.place.keys), folder)
    attack(scene)
    report = verify.examine(settings, built.receipts)
    shutil.rmtree(folder)
    if case == UNTOUCHED:
        return DrillRow(case, "-", report.verdict, "; ".join(sorted(report.codes())))
    hits = [finding for finding in report.findings if finding.code == expected]
    detected = report.verdict == "TAMPERED" and bool(hits)
    codes = [expected, *sorted(report.codes() - {expected})] if hits else sorted(report.codes())
    return DrillRow(
        case, "yes" if detected else "no", ", ".join(codes) or report.verdict, hits[0].where if hits else ""
    )


def _build(settings: Settings, folder: Path) -> _Built:
    keys = KeyFolder(settings.place.keys)
    keys.create_secrets(settings.audit.key_id)
    signing.create_keys(keys)
    streams = [session.writer(settings, "drill") for _ in range(2)]
    for round_ in range(2):
        for number, stream in enumerate(streams):
            for item in range(3):
                name = f"{round_}.{number}.{item}"
                stream.append([_row(f"{name}.a", reason="as measured"), _row(f"{name}.b", reason="as decided")])
        session.record_once(settings, "drill", [_row(f"once.{round_}", reason="a verdict")])
        session.commit(settings)
        if round_ == 0:
            for part in ("audit", "anchors"):
                shutil.copytree(folder / part, folder / attacks.BACKUP / part)
    receipt = streams[0].append([_row("late.1"), _row("late.2")])
    return _Built(settings, folder, (receipt,))


def _row(idem: str, reason: str = "") -> Entry:
    known = {
        "actor_kind": "service",
        "actor_ref": "drill",
        "phase": "single",
        "severity": "info",
        "object_type": "case",
        "object_id": idem,
        "reason": reason,
    }
    return Entry("log_operation", "drill", catalogue.complete("log_operation", known), idem)


def _at(policy: Settings, folder: Path) -> Settings:
    place = Place(
        root=f"file://{folder}/store",
        audit=f"file://{folder}/audit",
        anchors=f"file://{folder}/anchors",
        query_store=f"{folder}/lancedb",
        keys=folder / "keys",
    )
    return policy.model_copy(update={"place": place})


def table(rows: Sequence[DrillRow]) -> str:
    """The rows as a Markdown table."""
    head = ["| case | detected | finding | where |", "|---|---|---|---|"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows)])
