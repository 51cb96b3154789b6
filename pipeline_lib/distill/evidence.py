"""Is there enough labelled data to judge a task, and to judge it well? Source: distillation.md section 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline_lib.distill.frame import EVALUATION, Rows
from pipeline_lib.settings.tasks import Kind

Counts = dict[str, dict[str, Any]]


def count(parts: Mapping[str, Rows], kind: Kind, classes: int) -> Counts:
    """Labelled rows of each partition and, unless a regression, rows of each class."""
    return {
        name: {"rows": len(rows)}
        if kind == "regression"
        else {"rows": len(rows), "classes": rows.class_counts(classes).tolist()}
        for name, rows in parts.items()
    }


def short_of(counts: Counts, kind: Kind, *, rows: int, class_rows: int) -> list[str]:
    """Evaluation partitions with fewer labelled rows, or (binary) fewer of a class; empty when all have enough."""
    lacking = []
    for part in EVALUATION:
        if counts[part]["rows"] < rows:
            lacking.append(f"{part}: {counts[part]['rows']} rows of {rows}")
        if kind == "binary" and min(counts[part]["classes"]) < class_rows:
            lacking.append(f"{part}: {min(counts[part]['classes'])} rows of the rarer class of {class_rows}")
    return lacking
