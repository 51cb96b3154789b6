"""A benchmark set: one table of labelled rows without time, customers or products (``config/benchmarks/<name>.yaml``).

It is no source: there is nothing to snapshot, no cutoff and no later month, so none of the thirteen tasks exists and
nothing of it is ever served. A model is compared on it with what others have published.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline_lib.settings.base import Section


class BenchmarkColumn(Section):
    role: Literal["feature", "label", "weight"]
    """``label``: a task is read from it, and no task may see it. ``weight``: design of the sample, never a feature."""
    type: Literal["whole", "real", "category"]
    why: str = ""
    """For people: what is special about it."""


class BenchmarkTask(Section):
    column: str
    positive: list[str] = Field(min_length=1)
    """Values that mean yes; every other one means no."""
    label: str
    """What yes means."""


class Benchmark(Section):
    """``name`` is the file's name."""

    name: str
    title: str
    file: str
    """The Parquet file in the folder that is given."""
    tasks: dict[str, BenchmarkTask]
    columns: dict[str, BenchmarkColumn]
    """Every column of the file; one that is not listed is refused."""
    split_salt: str
    """Salt of the hash that puts a row into train, val or test."""
    train_share: float = Field(gt=0, lt=1)
    val_share: float = Field(gt=0, lt=1)
    """Shares of the distinct inputs; the rest is test [0..1]."""

    @model_validator(mode="after")
    def _consistent(self) -> Benchmark:
        if self.train_share + self.val_share >= 1:
            raise ValueError(f"train_share {self.train_share} + val_share {self.val_share} leave no test")
        for name, task in self.tasks.items():
            column = self.columns.get(task.column)
            if column is None or column.role != "label":
                raise ValueError(f"tasks.{name}: column {task.column!r} is not declared with role label")
        return self

    def named(self, role: str) -> list[str]:
        """Columns of a role, in the declared order."""
        return [name for name, column in self.columns.items() if column.role == role]
