"""Article 9 risk-management record, five steps (EU).

Reader: the national competent authority. At each promotion, each quarter and after a critical incident. Kept 10 years.
Source: compliance.md 5.2. Each step is measured against the bank's risk register; until its hash is in the record the
steps are unknown and what was observed is printed.
"""

from __future__ import annotations

from typing import Any

from pipeline_lib.comply.evidence import EvidenceBook
from pipeline_lib.comply.items import Item, columns, real, unknown
from pipeline_lib.comply.report import body
from pipeline_lib.settings.compliance import Levels, ReportPolicy

KIND = "eu_risk_record"
REGISTER = "the risk register (risks, monitors, controls, tolerances)"


def generate(book: EvidenceBook, policy: ReportPolicy, levels: dict[str, Levels]) -> dict[str, Any]:
    items = (
        _identification(book),
        _estimation(book),
        unknown("E3", f"{REGISTER}: tolerances to hold the estimates against"),
        _measures(book),
        unknown("E5", f"{REGISTER}: what each control prevented, and what reached customers"),
    )
    return body(KIND, policy, book, items)


def _identification(book: EvidenceBook) -> Item:
    """Which monitors produced readings, and which kinds of risk events were observed."""
    windows, acts = book.ask("windows"), book.ask("oversight")
    observed = columns(acts, "incidents", "complaints", "kill_switch_fired")
    return unknown("E1", f"{REGISTER}: which risks these monitors and events belong to", columns(windows) + observed)


def _estimation(book: EvidenceBook) -> Item:
    """Accuracy: the serving version's metrics as the gate measured them, and its distance from the teacher."""
    compared, fidelity = book.ask("comparison"), book.ask("fidelity")
    numbers = [real(f"{row['metric']} of the serving version", compared, row["challenger"]) for row in compared.values]
    numbers += [real(f"KL to the teacher, {row['task']}", fidelity, row["kl"])
                for row in fidelity.values if row["kl"] is not None]  # fmt: skip
    return unknown("E2", "estimates of the families transparency, security and oversight", numbers)


def _measures(book: EvidenceBook) -> Item:
    numbers = columns(book.ask("oversight"), "drills", "kill_switch_fired", "kill_switch_cleared")
    return unknown("E4", f"{REGISTER}: which control answers which risk, and its last test", numbers)
