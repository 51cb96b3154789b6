"""Could the model read the answer from its inputs?

Rules are small functions over plain values, one file per family, that yield Findings. The two functions here run
a list of rules, raise LeakageError with all findings, or say what was covered. Nothing to check is a failure, and
what cannot be judged is a finding that stops the run too. Source: data.md 10; Kaufman et al., 2012.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline_lib.contracts.leakage import copies, derived, fitted, lineage, rows, splits, tables
from pipeline_lib.contracts.leakage.evidence import LabelView, views
from pipeline_lib.contracts.leakage.frames import Coverage, FileRange, TableSet, TrainingFrame
from pipeline_lib.errors import ContractError, LeakageError
from pipeline_lib.records import Finding
from pipeline_lib.settings.leakage import Leakage

__all__ = [
    "Coverage",
    "FileRange",
    "TableSet",
    "TrainingFrame",
    "frame_findings",
    "require_no_leakage_frame",
    "require_no_leakage_tables",
    "table_findings",
]

TABLE_RULES = (
    splits.gap_between_splits,
    splits.customers_on_one_side,
    splits.split_by_hash,
    splits.order_by_hash,
    splits.labels_do_not_follow_order,
    splits.rates_do_not_differ,
    tables.only_listed_files,
    tables.only_known_tables,
    tables.no_ground_truth,
    tables.nothing_from_the_future,
    tables.no_immature_label,
    tables.few_absent_customers,
    tables.no_panel_jump,
)
FRAME_RULES = (
    lineage.sources_are_allowed,
    lineage.forbidden_files_stay_closed,
    lineage.names_are_not_labels,
    lineage.no_identifier,
    fitted.fitted_on_train,
    fitted.scaler_fitted_on_train,
    fitted.scaled_with_stored_scaler,
    fitted.columns_are_alive,
    fitted.sequences_end_at_cutoff,
    rows.keys_are_unique,
    rows.rows_do_not_repeat,
    rows.sides_look_alike,
)
LABEL_RULES = (
    copies.same_values,
    copies.near_copy_by_correlation,
    copies.near_copy_by_ranking,
    copies.explains_the_label,
    derived.rebuilds_the_label,
)
STOPS = ("FAIL", "UNJUDGED")


def require_no_leakage_tables(t: TableSet, limits: Leakage) -> tuple[Coverage, list[Finding]]:
    """Judge the loaded tables, the labels and the splits.

    Returns:
        What was covered, and the warnings.

    Raises:
        ContractError: there is nothing to judge.
        LeakageError: with all findings.
    """
    found = table_findings(t, limits)
    _require_none(t.name, found)
    checks = tuple(rule.__name__ for rule in TABLE_RULES)
    return Coverage(t.name, checks, tuple(t.tasks), {}, len(t.columns), len(t.splits)), found


def require_no_leakage_frame(frame: TrainingFrame, limits: Leakage) -> tuple[Coverage, list[Finding]]:
    """Judge features against labels, lineage and splits.

    Returns:
        What was covered, and the warnings.

    Raises:
        ContractError: there is nothing to judge.
        LeakageError: with all findings.
    """
    skipped: dict[str, str] = {}
    found = frame_findings(frame, limits, skipped)
    _require_none(frame.name, found)
    checks = tuple(rule.__name__ for rule in (*FRAME_RULES, *LABEL_RULES))
    return Coverage(frame.name, checks, tuple(frame.tasks), skipped, len(frame.features), len(frame.keys)), found


def table_findings(t: TableSet, limits: Leakage) -> list[Finding]:
    """All findings about the tables. Raises ContractError when there is nothing to judge."""
    if t.splits.is_empty() or t.labels.is_empty() or not t.tasks:
        raise ContractError(
            f"{t.name}: leakage cannot be judged: {len(t.splits)} split rows, {len(t.labels)} label rows, "
            f"{len(t.tasks)} active tasks"
        )
    return [f for rule in TABLE_RULES for f in rule(t, limits)]


def frame_findings(frame: TrainingFrame, limits: Leakage, skipped: dict[str, str] | None = None) -> list[Finding]:
    """All findings about the features. Raises ContractError when there is nothing to judge."""
    if not frame.features or not len(frame.rows_of("train")) or not frame.tasks:
        raise ContractError(
            f"{frame.name}: leakage cannot be judged: {len(frame.features)} features, "
            f"{len(frame.rows_of('train'))} train rows, {len(frame.tasks)} active tasks"
        )
    skipped = {} if skipped is None else skipped
    about_frame = [f for rule in FRAME_RULES for f in rule(frame, limits)]
    return about_frame + list(_against_labels(frame, limits, skipped))


def _against_labels(frame: TrainingFrame, limits: Leakage, skipped: dict[str, str]) -> Iterator[Finding]:
    for view in views(frame, limits, skipped):
        if isinstance(view, LabelView):
            for rule in LABEL_RULES:
                yield from rule(view, limits)
        else:
            yield view


def _require_none(name: str, found: list[Finding]) -> None:
    stopping = [f for f in found if f.verdict in STOPS]
    if stopping:
        raise LeakageError(f"{name}: {len(stopping)} findings stop the run", stopping)
