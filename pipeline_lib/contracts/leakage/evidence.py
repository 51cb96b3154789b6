"""Labels prepared once for all statistics: the judged rows, the label in one-hot form, ranks and bins of features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline_lib.contracts.leakage.frames import Ints, TrainingFrame
from pipeline_lib.contracts.leakage.statistics import Floats, one_hot, order_of, ranks_within, standard, without_nan
from pipeline_lib.contracts.leakage.text import finding
from pipeline_lib.records import Finding
from pipeline_lib.settings.leakage import Leakage

RETIRED = {"has_nba": ("nba_primary", 0), "has_addition": ("cross_sell_count", 0)}
"""Labels that are no tasks any more but would still be copies: 1 where the label is above the value."""


@dataclass(frozen=True)
class LabelView:
    """One label on the train rows that carry it."""

    name: str
    kind: str
    names: list[str]
    """Features, in column order [F]."""
    values: Floats
    """Features [n, F], NaN as a value below all others."""
    ranked: Floats
    """Average ranks [n, F]."""
    undefined: npt.NDArray[np.bool_]
    """Where the feature is NaN [n, F]."""
    y: Floats
    """The label [n]."""
    classes: Floats
    """One-hot of the classes with enough rows [n, K]; no column for regression."""
    class_names: list[str]
    fold: Ints
    """Cross-validation fold by customer [n]."""
    groups: tuple[str, ...] = ()
    """Feature group of every feature [F]; empty when there are none."""
    memo: dict[str, Floats] = field(default_factory=dict)
    """What one rule has computed of this label and another one needs."""
    shared: dict[str, Floats] = field(default_factory=dict)
    """The same of the columns alone, for all labels of the same rows."""

    @property
    def standard_values(self) -> Floats:
        """``values`` with mean 0 and variance 1 [n, F]."""
        return self._shared("values", lambda: standard(self.values))

    @property
    def standard_ranks(self) -> Floats:
        return self._shared("ranks", lambda: standard(self.ranked))

    def _shared(self, name: str, make: Callable[[], Floats]) -> Floats:
        if name not in self.shared:
            self.shared[name] = make()
        return self.shared[name]

    def label_of(self, k: int) -> str:
        return self.name if self.kind == "binary" else f"{self.name}={self.class_names[k]}"


def views(frame: TrainingFrame, limits: Leakage, skipped: dict[str, str]) -> Iterator[LabelView | Finding]:
    """One view per active label and retired one, those of one mask together; one with too few rows is a finding.

    ``skipped`` receives what is not judged on purpose: inactive tasks and classes too rare.
    """
    train = spread(frame.rows_of("train"), limits.sample_rows)
    groups = tuple(column["group"] for column in frame.schema["columns"])
    every = np.asfortranarray(without_nan(frame.raw[train]))  # read column by column
    order = order_of(every)
    prepared: tuple[bytes, Floats, Floats, dict[str, Floats]] = b"", every, every, {}
    labels = [(name, kind, y, train[~np.isnan(y[train])]) for name, kind, y in _labels(frame, skipped)]
    first = {mask: i for i, mask in reversed(list(enumerate(at.tobytes() for *_, at in labels)))}
    for name, kind, y, at in sorted(labels, key=lambda label: first[label[3].tobytes()]):
        if len(at) < limits.min_rows:
            message = "train rows with this label are too few to judge any feature against it"
            yield finding(
                "L01", "all features", "rows", len(at), limits.min_rows, message, label=name, verdict="UNJUDGED"
            )
            continue
        if at.tobytes() != prepared[0]:
            keep = np.isin(train, at, assume_unique=True)
            prepared = at.tobytes(), every[keep], ranks_within(every, order, keep), {}
        _, values, ranked, shared = prepared
        shown, hot = _classes(name, kind, y[at], limits.min_class_rows, skipped)
        folds = customer_folds(frame, at, limits.derived.folds)
        undefined = np.isnan(frame.raw[at])
        yield LabelView(
            name, kind, frame.features, values, ranked, undefined, y[at], hot, shown, folds, groups, shared=shared
        )


def spread(rows: Ints, most: int) -> Ints:
    """At most ``most`` rows, evenly spaced: rows lie in hash order, so this is a fair and fixed sample."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def customer_folds(frame: TrainingFrame, rows: Ints, folds: int) -> Ints:
    """Fold of every row; all rows of a customer are in one fold."""
    keys = frame.keys["customer_key"].to_numpy()[rows]
    _, place = np.unique(keys, return_inverse=True)
    out: Ints = place.astype(np.int64) % folds
    return out


def _labels(frame: TrainingFrame, skipped: dict[str, str]) -> Iterator[tuple[str, str, npt.NDArray[np.float64]]]:
    for name, kind in frame.tasks.items():
        yield name, kind, _float(frame.labels[name])
    for name, (source, above) in RETIRED.items():
        if source in frame.tasks:
            y = _float(frame.labels[source])
            yield name, "binary", np.where(np.isnan(y), np.nan, (y > above).astype(np.float64))
    for name in frame.labels.columns:
        if name not in frame.tasks:
            skipped[name] = "the task is not active in this run"


def _classes(name: str, kind: str, y: Floats, min_rows: int, skipped: dict[str, str]) -> tuple[list[str], Floats]:
    if kind == "regression":
        return [], np.empty((len(y), 0))
    found, counts = np.unique(y.astype(np.int64), return_counts=True)
    if kind == "binary":
        found, counts = found[found == 1], counts[found == 1]
    for value, count in zip(found, counts, strict=True):
        if count < min_rows:
            skipped[f"{name}={value}"] = f"{count} train rows, fewer than {min_rows}"
    kept = found[counts >= min_rows]
    return [str(value) for value in kept], one_hot(y.astype(np.int64), kept)


def _float(values: pl.Series) -> npt.NDArray[np.float64]:
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
