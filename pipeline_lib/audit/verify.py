"""Is the record what was written? Gathers evidence, anchors and query store and runs the plan of audit.md 7.2.

The anchors are read before the evidence, so that rows written meanwhile are new and never missing. ``examine``
gives a report whatever it finds; ``verify`` raises it unless the verdict is INTACT; ``job`` also files it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from pipeline_lib.audit import anchors, catalogue, evidence, lawful, record, segment, storecheck, witness
from pipeline_lib.audit.keyring import Ring
from pipeline_lib.audit.plan import PLAN, Facts, not_judged
from pipeline_lib.audit.report import Check, Report, unread, verification_page
from pipeline_lib.audit.segment import Entry
from pipeline_lib.business_time import utc_now
from pipeline_lib.canonical import decimal_text
from pipeline_lib.errors import AuditError, NotVerified, ObjectMissing, SecretMissing, StoreError, Tampered
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import open_objects
from pipeline_lib.records import Receipt
from pipeline_lib.runs import code_version
from pipeline_lib.settings import Settings

__all__ = ["examine", "job", "verification_page", "verify"]
REPORTS = "audit/verification"


def verify(settings: Settings, receipts: Sequence[Receipt] = (), *, with_store: bool = True) -> Report:
    """``examine``, and the report itself when it is INTACT.

    Raises:
        Tampered, NotVerified: with the report.
    """
    return _or_raise(examine(settings, receipts, with_store=with_store))


def job(settings: Settings, receipts: Sequence[Receipt] = (), *, with_store: bool = True) -> Report:
    """Verify, file the report and record the result, whatever it is; then as ``verify``."""
    report = examine(settings, receipts, with_store=with_store)
    data = report.to_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    open_objects(settings.place.root).create(f"{REPORTS}/{sha256[:32]}.json", data)
    known = {
        "actor_kind": "service",
        "actor_ref": "verifier",
        "phase": "single",
        "object_type": "verification_report",
        "object_id": sha256[:32],
        "severity": "critical" if report.verdict == "TAMPERED" else "info",
        "after_hash": sha256,
        "details": {"verdict": report.verdict, "size": report.size, "root": report.root, "to_ckpt": report.to_ckpt},
        "code_rev": code_version(),
        "config_hash": settings.config_hash,
    }
    payload = catalogue.complete("log_operation", known)
    entry = Entry("log_operation", "verify_result", payload, f"verify_result:{sha256[:32]}")
    record.record_once(settings, "verifier", [entry])
    return _or_raise(report)


def examine(
    settings: Settings,
    receipts: Sequence[Receipt] = (),
    *,
    with_store: bool = True,
    kept: Mapping[str, bytes] | None = None,
) -> Report:
    """Run the plan; a store that cannot be read makes the verdict INCOMPLETE, never an empty record.

    Args:
        receipts: what callers were promised; a missing one shows a cut above the newest checkpoint.
        with_store: compare the query store with the evidence too; without it V07 and V15 are skipped by design.
        kept: name -> note that somebody outside kept of this record.
    """
    started = _now()
    try:
        facts = _gather(settings, receipts, started, kept or {})
        store_checks = storecheck.checks(settings, facts) if with_store else storecheck.skipped()
    except (StoreError, OSError) as error:
        return unread(record.origin(settings), str(error), started, _now(), code_version())
    checks = [*(check(facts) for check in (*PLAN, lawful.expired, lawful.erased)), *store_checks, *not_judged()]
    return _report(settings, facts, sorted(checks, key=lambda check: check.id))


def _gather(settings: Settings, receipts: Sequence[Receipt], now: str, kept: Mapping[str, bytes]) -> Facts:
    keys, origin = KeyFolder(settings.place.keys), record.origin(settings)
    second = open_objects(settings.place.root)
    past, problem = anchors.trusted(open_objects(settings.place.anchors), keys, origin)
    covered = anchors.covered(past)
    copies = anchors.copies(second, past)
    promised = [segment.Chain(r.origin, r.writer_id, r.epoch).key_of(r.first_seq) for r in receipts]
    known = dict.fromkeys(promised, "") | {key: item.sha256 for key, (item, _, _) in covered.items()}
    ring, ring_problem = _ring(settings)
    return Facts(
        past=past,
        covered=covered,
        anchor_problem=problem,
        witness=copies,
        reading=evidence.examine(record.store(settings), keys, origin, known),
        receipts=receipts,
        now=now,
        max_intent_minutes=settings.audit.max_intent_minutes,
        anchor_skew_s=settings.audit.anchor_skew_s,
        ring=ring,
        ring_problem=ring_problem,
        kept=witness.read(settings, kept),
    )


def _ring(settings: Settings) -> tuple[Ring | None, str | None]:
    """The registry of keys, or why there is none; a key that is missing is said for each chain (V06)."""
    try:
        return record.ring(settings), None
    except SecretMissing:
        return None, None
    except (AuditError, ObjectMissing) as error:
        return None, str(error.args[0])


def _report(settings: Settings, facts: Facts, checks: Sequence[Check]) -> Report:
    reading, newest = facts.reading, facts.past[-1].checkpoint if facts.past else None
    rows, size = len(reading.facts), newest.size if newest else 0
    covered = sum(len(part.leaves) for key, part in reading.segments.items() if key in facts.covered)
    return Report(
        origin=record.origin(settings),
        mode="full",
        from_ckpt=1 if newest else 0,
        to_ckpt=newest.n if newest else 0,
        size=size,
        root=newest.root if newest else None,
        rows_checked=rows,
        rows_by_table=dict(sorted(Counter(fact.log_table for fact in reading.facts).items())),
        rows_unanchored=rows - covered,
        macs_checked=sum(len(part.leaves) for key, part in reading.segments.items() if key not in reading.keyless),
        leaves_checked=covered,
        anchors_checked=len(facts.past),
        checks=tuple(checks),
        coverage_pct=decimal_text(100 * min(covered, size) / size if size else 0.0, 2) or "",
        verifier_code_digest=code_version(),
        key_ids=tuple(sorted({key_id for part in reading.segments.values() for key_id in part.key_ids})),
        started_at=facts.now,
        ended_at=_now(),
    )


def _or_raise(report: Report) -> Report:
    if report.verdict == "INTACT":
        return report
    first = next((f"{f.code} at {f.where}: {f.detail}" for f in report.findings), "")
    undone = [
        f"{check.id} {check.reason}" for check in report.checks if check.status == "skipped" and not check.by_design
    ]
    message = f"{report.origin}: {report.verdict}: {first or '; '.join(undone)}"
    raise (Tampered if report.verdict == "TAMPERED" else NotVerified)(message, report)


def _now() -> str:
    return segment.timestamp(int(utc_now().timestamp() * 1_000_000))
