"""Which tasks have enough labels to be trained here: a verdict for every task, computed from the labels.

A task that fails is disabled with its reason and its labels are masked; that is a result, not an error.
Source: data.md 6.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from pipeline_lib.settings.tasks import Task, Viability

Verdict = dict[str, Any]


def judge_tasks(
    labels: pl.DataFrame,
    tasks: Mapping[str, Task],
    absent: Mapping[str, str],
    class_names: Mapping[str, Sequence[str]],
    limits: Viability,
) -> dict[str, Verdict]:
    """One verdict per task, in catalogue order.

    Args:
        labels: one row per labelled customer and cutoff: ``split`` and a column per task, null = masked.
        absent: task -> why the source cannot carry it.
        class_names: names of the classes of each multiclass task.

    Returns:
        task -> status, reason, kind, classes, rate, coverage, train_rows, positives. ``coverage`` is the share of
        train rows with a label; ``rate`` the share of positives (binary), the mean (regression) or the share of
        the most frequent class (multiclass), on train; ``positives`` the number of train positives (binary) or of
        train rows per class (multiclass).
    """
    train = labels.filter(pl.col("split") == "train")
    val = labels.filter(pl.col("split") == "val")
    verdicts = {}
    for name, task in tasks.items():
        known, names = train.get_column(name).drop_nulls(), list(class_names.get(name, ()))
        verdict: Verdict = {"kind": task.kind, "classes": names, "train_rows": known.len()}
        verdict |= {"coverage": known.len() / max(1, train.height)} | _rate(task, known, len(names))
        reason = absent.get(name) or _too_little(task, verdict, known, val.get_column(name).drop_nulls(), limits)
        verdicts[name] = {"status": "disabled" if reason else "active", "reason": reason, **verdict}
    return verdicts


def _rate(task: Task, known: pl.Series, classes: int) -> Verdict:
    rows = known.len()
    if task.kind == "binary":
        positives = int(known.sum())
        return {"rate": positives / rows if rows else None, "positives": positives}
    if task.kind == "multiclass":
        counts = [int((known == k).sum()) for k in range(classes)]
        return {"rate": max(counts) / rows if rows else None, "positives": counts}
    return {"rate": float(known.sum()) / rows if rows else None, "positives": None}


def _too_little(task: Task, verdict: Verdict, known: pl.Series, val: pl.Series, limits: Viability) -> str | None:
    """Why the labels do not suffice; None when they do."""
    if verdict["coverage"] < limits.min_coverage:
        return f"coverage {verdict['coverage']:.4f} of train rows, at least {limits.min_coverage} expected"
    if task.kind == "binary":
        for split, labels, least in (
            ("train", known, limits.min_train_positives),
            ("val", val, limits.min_val_positives),
        ):
            positives = int(labels.sum())
            negatives = labels.len() - positives
            if min(positives, negatives) < least:
                return f"{positives} positives and {negatives} negatives on {split}, at least {least} of each expected"
    if task.kind == "multiclass":
        enough = sum(count >= limits.min_class_rows for count in verdict["positives"])
        if enough < 2:
            return f"{enough} classes with {limits.min_class_rows} train rows or more, at least 2 expected"
    if task.kind == "regression":
        spread = known.std() if known.len() > 1 else None
        if spread is None or float(str(spread)) <= limits.min_std:
            return f"standard deviation {spread}, more than {limits.min_std} expected"
    return None


def rates(labels: pl.DataFrame, assignment: pl.DataFrame, tasks: Mapping[str, Task]) -> pl.DataFrame:
    """How much each label differs between train and the later splits: what the suite ``label_table.rates`` judges.

    Returns:
        One row per task with labels and per split of val and test: task, kind, split, rows, rate, train_rate, change.
        ``rate``: share of positives (binary), share of train's most frequent class (multiclass), mean (regression);
        ``change``: relative to train's rate, of a regression in standard deviations of train; null when neither is
        defined.
    """
    key = ["customer_key", "cutoff_date"]
    joined = labels.join(assignment.select(*key, "split"), on=key)
    records = []
    for name, task in tasks.items():
        parts = {
            split: joined.filter(pl.col("split") == split)[name].drop_nulls() for split in ("train", "val", "test")
        }
        if not parts["train"].len():
            continue
        if task.kind == "multiclass":
            usual = parts["train"].mode().min()
            parts = {split: (known == usual) for split, known in parts.items()}
        base, scale = _mean(parts["train"]), _scale(task, parts["train"])
        for split in ("val", "test"):
            rate = _mean(parts[split])
            change = (rate - base) / scale if rate is not None and base is not None and scale else None
            records.append((name, task.kind, split, float(parts[split].len()), rate, base, change))
    text, real = pl.String, pl.Float64
    names = {"task": text, "kind": text, "split": text, "rows": real, "rate": real, "train_rate": real, "change": real}
    return pl.DataFrame(records, schema=names, orient="row")


def _mean(known: pl.Series) -> float | None:
    return float(known.cast(pl.Float64).to_numpy().mean()) if known.len() else None


def _scale(task: Task, train: pl.Series) -> float | None:
    values = train.cast(pl.Float64).to_numpy()
    return float(values.std() if task.kind == "regression" else values.mean())
