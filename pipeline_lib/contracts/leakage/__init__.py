"""Could the model read the answer from its inputs?

Rules are small functions over plain values, one file per family, that yield Findings. The functions here run a
list of rules and say what was covered. Nothing to check is a failure, and what cannot be judged is a finding that
stops the run too. Source: data.md 10; Kaufman et al., 2012.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline_lib.contracts.leakage import (
    bookings,
    copies,
    derived,
    fitted,
    generators,
    history,
    lineage,
    measures,
    raw,
    raw_labels,
    raw_values,
    rows,
    scores,
    splits,
    support,
    tables,
)
from pipeline_lib.contracts.leakage.evidence import LabelView, views
from pipeline_lib.contracts.leakage.frames import Coverage, FileRange, TableSet, TrainingFrame
from pipeline_lib.contracts.leakage.raw import RawSet, RawTable
from pipeline_lib.contracts.leakage.scores import Results, Score
from pipeline_lib.contracts.leakage.text import rules_of
from pipeline_lib.errors import ContractError, LeakageError
from pipeline_lib.records import Finding
from pipeline_lib.settings.leakage import Leakage

__all__ = [
    "Coverage",
    "FileRange",
    "RawSet",
    "RawTable",
    "Results",
    "Score",
    "TableSet",
    "TrainingFrame",
    "frame_findings",
    "judge_frame",
    "judge_scores",
    "judge_tables",
    "raw_findings",
    "require_no_leakage",
    "score_findings",
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
    tables.windows_end_at_the_next_stamp,
    tables.no_panel_jump,
    bookings.many_at_once,
    bookings.label_rates,
)
FRAME_RULES = (
    lineage.sources_are_allowed,
    lineage.forbidden_files_stay_closed,
    lineage.names_are_not_labels,
    lineage.no_identifier,
    raw.raw_ancestors_are_known,
    fitted.fitted_on_train,
    fitted.scaler_fitted_on_train,
    fitted.scaled_with_stored_scaler,
    fitted.columns_are_alive,
    fitted.groups_say_something,
    fitted.sequences_end_at_cutoff,
    generators.rows_are_not_time,
    generators.joined_by_key,
    generators.holdings_are_of_the_cutoff,
    generators.history_is_capped,
    generators.imputed_with_a_constant,
    generators.absent_inputs_feed_nothing,
    generators.no_silent_fallback,
    generators.backends_are_declared,
    history.length_does_not_tell_the_split,
    rows.keys_are_unique,
    rows.rows_do_not_repeat,
    rows.sides_look_alike,
)
LABEL_RULES = (
    copies.same_values,
    copies.near_copy_by_correlation,
    copies.near_copy_by_ranking,
    copies.explains_the_label,
    derived.buckets_of_one_column,
    derived.rebuilds_the_label,
    derived.one_group_is_enough,
    support.beats_all_others,
    support.defined_for_one_outcome,
)
RAW_RULES = (
    raw.every_column_is_declared,
    raw.undated_rows_are_static,
    raw.figures_of_later_years,
    raw_values.states_of_a_later_day,
    raw_values.sample_weights,
    raw_labels.columns_beside_labels,
    bookings.raw_many_at_once,
)
SCORE_RULES = (scores.too_good, scores.above_the_oracle, scores.echoes)
STOPS = ("FAIL", "UNJUDGED")


@dataclass
class Notes:
    """What is worth saying about a judgement beside its findings."""

    skipped: dict[str, str] = field(default_factory=dict)
    """What is not judged on purpose, and why."""
    strongest: list[dict[str, Any]] = field(default_factory=list)
    """The strongest columns per label."""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """Rule -> label ("" without one) -> findings."""

    def counted(self, rule: Callable[..., Any], found: Iterable[Finding]) -> Iterator[Finding]:
        for f in found:
            own = self.counts.setdefault(rule.__name__, {})
            label = f.label.partition("=")[0]
            own[label] = own.get(label, 0) + 1
            yield f


def judge_tables(t: TableSet, limits: Leakage, raw_set: RawSet | None = None) -> tuple[Coverage, list[Finding]]:
    """All findings about splits, files, dates, label status and raw tables, and what was covered.

    Raises:
        ContractError: there is nothing to judge.
    """
    notes = Notes()
    found = table_findings(t, limits, notes)
    rules: tuple[Callable[..., Iterator[Finding]], ...] = TABLE_RULES
    if raw_set is not None and raw_set.tables:
        found, rules = found + raw_findings(raw_set, limits, notes), (*TABLE_RULES, *RAW_RULES)
    if not t.declared_rates:
        notes.skipped[bookings.label_rates.__name__] = "a real source declares no rate"
    if t.bookings.is_empty():
        notes.skipped[bookings.many_at_once.__name__] = "the source has no event"
    seen = {**measures.of_tables(t), "counts": notes.counts}
    known = rules_of(rules)
    return Coverage(
        t.name, tuple(known), tuple(t.tasks), notes.skipped, len(t.columns), len(t.splits), known, (), seen
    ), found


def judge_frame(frame: TrainingFrame, limits: Leakage) -> tuple[Coverage, list[Finding]]:
    """All findings about features against labels, lineage and splits, and what was covered.

    Raises:
        ContractError: there is nothing to judge.
    """
    notes = Notes()
    found = frame_findings(frame, limits, notes)
    skipped = notes.skipped
    if frame.raw_columns is None:
        skipped[raw.raw_ancestors_are_known.__name__] = "a generated bank has no raw table"
    if not frame.holdings:
        why = "no product is held, or no snapshot lies at cutoff and label date"
        skipped |= {rule.__name__: why for rule in (generators.joined_by_key, generators.holdings_are_of_the_cutoff)}
    known, by_label = rules_of((*FRAME_RULES, *LABEL_RULES)), tuple(rules_of(LABEL_RULES))
    seen = {**measures.of_frame(frame, limits), "labels": notes.strongest, "counts": notes.counts}
    columns, rows = len(frame.features), len(frame.keys)
    return Coverage(frame.name, tuple(known), tuple(frame.tasks), skipped, columns, rows, known, by_label, seen), found


def judge_scores(name: str, results: Results, limits: Leakage) -> tuple[Coverage, list[Finding]]:
    """All findings about scores and the generator's fidelity, and what was covered."""
    notes = Notes()
    found = score_findings(results, limits, notes)
    if not results.oracle:
        notes.skipped[scores.above_the_oracle.__name__] = "no law states the best possible score of this bank"
    if not results.fidelity:
        notes.skipped[scores.echoes.__name__] = "the run has no fidelity report"
    seen = {"scores": [asdict(one) for one in results.scores], "oracle": dict(results.oracle), "counts": notes.counts}
    known, tasks = rules_of(SCORE_RULES), tuple(dict.fromkeys(one.task for one in results.scores))
    rows = len(results.scores)
    return Coverage(name, tuple(known), tasks, notes.skipped, rows, rows, known, (), seen), found


def require_no_leakage(name: str, found: Sequence[Finding]) -> None:
    """Raises LeakageError with all findings when one of them stops the run."""
    stopping = [f for f in found if f.verdict in STOPS]
    if stopping:
        raise LeakageError(f"{name}: {len(stopping)} findings stop the run", stopping)


def table_findings(t: TableSet, limits: Leakage, notes: Notes | None = None) -> list[Finding]:
    """All findings about the tables. Raises ContractError when there is nothing to judge."""
    if t.splits.is_empty() or t.labels.is_empty() or not t.tasks:
        raise ContractError(
            f"{t.name}: leakage cannot be judged: {len(t.splits)} split rows, {len(t.labels)} label rows, "
            f"{len(t.tasks)} active tasks"
        )
    return _ran(TABLE_RULES, t, limits, notes or Notes())


def raw_findings(raw_set: RawSet, limits: Leakage, notes: Notes | None = None) -> list[Finding]:
    """All findings about raw tables, as declared or blind."""
    return _ran(RAW_RULES, raw_set, limits, notes or Notes())


def score_findings(results: Results, limits: Leakage, notes: Notes | None = None) -> list[Finding]:
    """All findings about scores."""
    return _ran(SCORE_RULES, results, limits, notes or Notes())


def frame_findings(frame: TrainingFrame, limits: Leakage, notes: Notes | None = None) -> list[Finding]:
    """All findings about the features. Raises ContractError when there is nothing to judge."""
    if not frame.features or not len(frame.rows_of("train")) or not frame.tasks:
        raise ContractError(
            f"{frame.name}: leakage cannot be judged: {len(frame.features)} features, "
            f"{len(frame.rows_of('train'))} train rows, {len(frame.tasks)} active tasks"
        )
    notes = notes or Notes()
    return _ran(FRAME_RULES, frame, limits, notes) + list(_against_labels(frame, limits, notes))


def _ran(
    rules: Sequence[Callable[..., Iterator[Finding]]], subject: Any, limits: Leakage, notes: Notes
) -> list[Finding]:
    return [f for rule in rules for f in notes.counted(rule, rule(subject, limits))]


def _against_labels(frame: TrainingFrame, limits: Leakage, notes: Notes) -> Iterator[Finding]:
    for view in views(frame, limits, notes.skipped):
        if isinstance(view, LabelView):
            notes.strongest.append(measures.of_label(view))
            yield from _ran(LABEL_RULES, view, limits, notes)
        else:
            yield view
