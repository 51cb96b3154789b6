"""What a verification found, for a machine and for a person.

A check passes, fails, or is skipped. ``by_design`` marks what this deployment cannot judge at all; anything else
that was skipped makes the verdict INCOMPLETE, which is never to be read as intact. Source: audit.md 7.2, 7.3.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.records import Severity

Verdict = Literal["INTACT", "TAMPERED", "INCOMPLETE"]

TITLES: dict[str, str] = {
    "V01": "every segment can be read and is in canonical form",
    "V02": "no payload differs from what was hashed",
    "V03": "no header differs from what was hashed",
    "V04": "no entry is missing, moved or inserted within its chain",
    "V05": "nothing is recorded twice",
    "V06": "every entry was made with the record's secret key",
    "V07": "the query store holds exactly the evidence",
    "V08": "the evidence is what the checkpoints were computed from",
    "V09": "every checkpoint is signed and continues the one before it",
    "V10": "the record is not shorter than its newest checkpoint",
    "V11": "every chain still ends where the checkpoints say",
    "V12": "every chain was opened by a writer, and none has vanished",
    "V13": "the copies of the checkpoints kept elsewhere agree",
    "V14": "times go forward and fit the checkpoints",
    "V15": "sampled rows of the query store are byte for byte the evidence",
    "V16": "as many requests are recorded as the gateway let in",
    "V17": "every prediction has its full set of rows",
    "V18": "nothing was deleted before its time",
    "V19": "every erasure was approved by two people",
    "V20": "every announced action was carried out or called off",
}

SEVERITY: dict[str, Severity] = {
    "BAD_SEGMENT": "major",
    "DUPLICATE": "major",
    "CLOCK_SUSPECT": "minor",
    "MAC_UNTRUSTED": "minor",
    "REQUESTS_MISSING": "major",
    "ROWSET_INCOMPLETE": "major",
    "LOG_SILENT": "major",
    "INTENT_OPEN": "major",
}
"""Severities of finding codes; a code that is not listed is critical."""

OPERATIONAL = frozenset({"V16", "V17", "V20"})
"""Checks whose failure says that something was not recorded, not that the record was changed."""


@dataclass(frozen=True)
class AuditFinding:
    code: str
    detail: str
    writer_id: str | None = None
    epoch: int | None = None
    seq: int | None = None
    leaf_index: int | None = None

    @property
    def severity(self) -> Severity:
        return SEVERITY.get(self.code, "critical")

    @property
    def where(self) -> str:
        """Place in words, as exact as it is known."""
        chain = f"{self.writer_id} epoch {self.epoch}" if self.writer_id else ""
        seq = f" entry {self.seq}" if self.seq is not None else ""
        leaf = f" (leaf {self.leaf_index})" if self.leaf_index is not None else ""
        return f"{chain}{seq}{leaf}".strip() or "the record as a whole"


@dataclass(frozen=True)
class Check:
    id: str
    status: Literal["pass", "fail", "skipped"]
    n: int
    """Things looked at."""
    findings: tuple[AuditFinding, ...] = ()
    reason: str = ""
    """Why it was skipped, or what of it was not judged."""
    by_design: bool = False


@dataclass(frozen=True)
class Report:
    origin: str
    mode: str
    from_ckpt: int
    to_ckpt: int
    size: int
    root: str | None
    rows_checked: int
    rows_by_table: Mapping[str, int]
    rows_unanchored: int
    macs_checked: int
    leaves_checked: int
    anchors_checked: int
    checks: tuple[Check, ...]
    coverage_pct: str
    verifier_code_digest: str
    key_ids: tuple[str, ...]
    started_at: str
    ended_at: str
    detection_latency_s: str | None = None
    """Unknown: the moment of a change is not recorded anywhere."""

    @property
    def verdict(self) -> Verdict:
        """Minor findings are shown and do not decide."""
        failed = {check.id for check in self.checks if any(f.severity != "minor" for f in check.findings)}
        if failed - OPERATIONAL:
            return "TAMPERED"
        undone = any(check.status == "skipped" and not check.by_design for check in self.checks)
        return "INCOMPLETE" if failed or undone or self.anchors_checked == 0 else "INTACT"

    @property
    def findings(self) -> tuple[AuditFinding, ...]:
        return tuple(finding for check in self.checks for finding in check.findings)

    @property
    def first_bad_leaf(self) -> int | None:
        return min((f.leaf_index for f in self.findings if f.leaf_index is not None), default=None)

    def codes(self) -> set[str]:
        return {finding.code for finding in self.findings}

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        found: dict[str, Any] = json.loads(self.to_bytes())
        return found

    def to_bytes(self) -> bytes:
        """Canonical JSON of the whole report."""
        checks = [{**asdict(check), "findings": [_plain(f) for f in check.findings]} for check in self.checks]
        derived = {"verdict": self.verdict, "first_bad_leaf": self.first_bad_leaf, "checks": checks}
        return canonical_bytes({**asdict(self), **derived})


def unread(origin: str, why: str, started_at: str, ended_at: str, code_digest: str) -> Report:
    """The report of a verification that could not read a store: nothing was judged. Source: audit.md F15."""
    return Report(
        origin=origin,
        mode="full",
        from_ckpt=0,
        to_ckpt=0,
        size=0,
        root=None,
        rows_checked=0,
        rows_by_table={},
        rows_unanchored=0,
        macs_checked=0,
        leaves_checked=0,
        anchors_checked=0,
        checks=tuple(Check(check_id, "skipped", 0, (), f"a store cannot be read: {why}") for check_id in TITLES),
        coverage_pct="0.00",
        verifier_code_digest=code_digest,
        key_ids=(),
        started_at=started_at,
        ended_at=ended_at,
    )


def _plain(finding: AuditFinding) -> dict[str, object]:
    return {**asdict(finding), "severity": finding.severity}


def verification_page(report: Report) -> str:
    """The report as Markdown for a reader who is not an engineer."""
    sentence = {
        "INTACT": "The record is intact: everything it held at its newest checkpoint is there, unchanged and in order.",
        "TAMPERED": "The record was changed. Do not repair it in place; keep copies and call internal audit.",
        "INCOMPLETE": "The verification is incomplete. This is not a finding of tampering, and it is not proof of "
        "integrity either.",
    }[report.verdict]
    return "\n".join(
        [
            f"# Verification of the record: {report.verdict}",
            "",
            sentence,
            "",
            f"- Record: `{report.origin}`, checked {report.started_at} to {report.ended_at}",
            f"- Entries checked: {report.rows_checked}, of which {report.rows_unanchored} are newer than the newest "
            "checkpoint (their removal would not be noticed yet)",
            f"- Checkpoints checked: {report.anchors_checked}; the newest, number {report.to_ckpt}, is over "
            f"{report.size} entries",
            f"- Root of the record: `{report.root or 'none yet'}`",
            "",
            "## What was checked",
            "",
            "| | question | answer | looked at |",
            "|---|---|---|---|",
            *(f"| {check.id} | {TITLES[check.id]} | {_answer(check)} | {check.n} |" for check in report.checks),
            "",
            *_finding_lines(report),
        ]
    )


def _answer(check: Check) -> str:
    if check.status == "skipped":
        return f"not judged: {check.reason}"
    said = "yes" if check.status == "pass" else f"**no**, {len(check.findings)} findings"
    return f"{said} ({check.reason})" if check.reason else said


def _finding_lines(report: Report, limit: int = 50) -> Sequence[str]:
    if not report.findings:
        return ["No findings.", ""]
    shown = [f"| {f.code} | {f.severity} | {f.where} | {_cell(f.detail)} |" for f in report.findings[:limit]]
    hidden = len(report.findings) - len(shown)
    more = [f"| ... | | | {hidden} more in the full report |"] if hidden else []
    return ["## Findings", "", "| code | severity | where | what |", "|---|---|---|---|", *shown, *more, ""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
