"""Article 9 risk-management record, five steps (EU).

Reader: the national competent authority. At each promotion, each quarter and after a critical incident. Kept 10 years.
Source: compliance.md 5.2. The risk register and its controls are not recorded yet, so steps that need them are unknown.
"""

from __future__ import annotations

from typing import Any

from pipeline_lib.comply.evidence import EvidenceBook
from pipeline_lib.comply.report import Item, Number, body, numbers_of, stated, unknown
from pipeline_lib.settings.compliance import Levels, ReportPolicy

KIND = "eu_risk_record"
LADDER = "impact"


def generate(book: EvidenceBook, policy: ReportPolicy, levels: dict[str, Levels]) -> dict[str, Any]:
    items = (
        _identification(book),
        _estimation(book),
        unknown("E3", "tolerances of the risk register (risks.yaml) against the estimates"),
        _measures(book),
        unknown("E5", "outcomes of controls: prevented against reached the customer, per registered risk"),
    )
    return body(KIND, policy, book.as_of, items, levels[LADDER])


def _identification(book: EvidenceBook) -> Item:
    """Which monitors produced readings, and which risk events were observed."""
    windows, acts = book.ask("windows"), book.ask("oversight")
    if windows.one["drift_windows"] + windows.one["fairness_windows"] == 0:
        return unknown("E1", "drift_window and fairness_window rows of the period", numbers_of(windows))
    observed = [Number(name, acts.one[name], acts.pointer) for name in ("incidents", "complaints", "kill_switch_fired")]
    return stated("E1", [*numbers_of(windows), *observed])


def _estimation(book: EvidenceBook) -> Item:
    """Accuracy family: the serving version's metrics as the gate measured them, and its fidelity."""
    compared, fidelity = book.ask("comparison"), book.ask("fidelity")
    numbers = [
        Number(f"{row['metric']} of the champion", row["challenger"], compared.pointer) for row in compared.values
    ]
    numbers += [Number(f"KL to the teacher, {row['task']}", row["kl"], fidelity.pointer)
                for row in fidelity.values if row["kl"] is not None]  # fmt: skip
    return stated("E2", numbers) if numbers else unknown("E2", "a promotion_decision row with metrics or fidelity")


def _measures(book: EvidenceBook) -> Item:
    acts = book.ask("oversight")
    if acts.one["drills"] == 0:
        return unknown("E4", "drill rows of the last 12 months", numbers_of(acts))
    return stated("E4", numbers_of(acts))
