"""What the rules saw, findings or not: the numbers behind the plots of the leakage report."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from pipeline_lib.contracts.leakage.copies import correlations
from pipeline_lib.contracts.leakage.evidence import LabelView
from pipeline_lib.contracts.leakage.frames import TableSet, TrainingFrame
from pipeline_lib.contracts.leakage.rows import adversarial_auc
from pipeline_lib.contracts.leakage.statistics import Floats, auc, psi
from pipeline_lib.settings.leakage import Leakage

TOP = 5
SLICES = ("val", "test")


def of_label(view: LabelView) -> dict[str, Any]:
    """The strongest columns against one label: by ranking, mean over classes, and by correlation."""
    out: dict[str, Any] = {"label": view.name, "kind": view.kind, "rows": len(view.y)}
    if view.classes.shape[1]:
        out["auc"] = _top(view.names, auc(view.ranked, view.classes).mean(axis=1))
    out["correlation"] = _top(view.names, correlations(view)[0])
    return out


def of_frame(frame: TrainingFrame, limits: Leakage) -> dict[str, Any]:
    """Drift of every column between train and the later slices, and how well the sides can be told apart."""
    found = adversarial_auc(frame, limits)
    return {
        "adversarial_auc": None if found is None else round(found[0], 6),
        "psi": {split: _top(frame.features, _drift(frame, split, limits.length.bins), 4 * TOP) for split in SLICES},
        "rechecks": [{"name": r.name, "rows": r.rows, "differing": len(r.differing)} for r in frame.rechecks],
        "holdings": [
            {"split": m.split, "at_cutoff": round(m.at_cutoff, 6), "at_label": round(m.at_label, 6)}
            for m in frame.holdings
        ],
    }


def of_tables(t: TableSet) -> dict[str, Any]:
    """Rows of every snapshot, cutoffs and label ends of every split."""
    first, last = pl.col("cutoff_date").min().cast(pl.String), pl.col("label_date").max().cast(pl.String)
    spans = t.splits.group_by("split").agg(first=first, last=last, rows=pl.len())
    return {
        "snapshots": [{"name": file.name.rsplit("/", 1)[-1], "rows": file.rows} for file in t.snapshots],
        "splits": spans.sort("split").to_dicts(),
        "declared_rates": dict(t.declared_rates),
    }


def _drift(frame: TrainingFrame, split: str, bins: int) -> Floats:
    train, later = frame.rows_of("train"), frame.rows_of(split)
    columns = (frame.raw[:, i].astype(np.float64) for i in range(frame.raw.shape[1]))
    return np.array([psi(values[train], values[later], bins) for values in columns])


def _top(names: list[str], values: Floats, count: int = TOP) -> list[list[Any]]:
    """The largest values with their names, ties by column order."""
    best = np.argsort(-values, kind="stable")[:count]
    return [[names[int(i)], round(float(values[i]), 6)] for i in best]
