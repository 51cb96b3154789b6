"""The prediction tasks: ``config/tasks.yaml``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline_lib.settings.base import Section

Kind = Literal["binary", "multiclass", "regression"]
Group = Literal["lifecycle", "consumption", "engagement", "value"]


class Task(Section):
    kind: Kind
    classes: int | None = Field(default=None, ge=2)
    """Number of classes of a multiclass task at most; a source may have fewer."""
    group: Group
    """Tasks of one group share encoders. Source: teacher.md 2.3."""
    weight: float = Field(gt=0)
    """Loss weight w [unitless]. Source: data.md 6.2."""
    focal_alpha: float | None = Field(default=None, gt=0, lt=1)
    """Weight of positives in the focal loss (binary only). Source: data.md 6.2."""
    label: str
    """How the label is derived, in words; the derivation itself is one SQL statement per task."""

    @model_validator(mode="after")
    def _consistent(self) -> Task:
        if (self.kind == "multiclass") != (self.classes is not None):
            raise ValueError(f"classes={self.classes} contradicts kind={self.kind}")
        if (self.kind == "binary") != (self.focal_alpha is not None):
            raise ValueError(f"focal_alpha={self.focal_alpha} contradicts kind={self.kind}")
        return self


class Viability(Section):
    """Below these a task is disabled for a data set with a verdict row, before training. Source: data.md 6.2."""

    min_train_positives: int = Field(ge=1)
    min_val_positives: int = Field(ge=1)
    min_class_rows: int = Field(ge=1)
    """A multiclass task needs two classes with at least so many train rows each."""
    min_std: float = Field(ge=0)
    """Standard deviation a regression label must exceed [label units]."""
    min_coverage: float = Field(gt=0, le=1)
    """Share of train rows that must carry the label [0..1]."""


class Tasks(Section):
    tasks: dict[str, Task]
    """Name -> task, in catalogue order: the order of every table and report."""
    viability: Viability

    def names(self, kind: Kind | None = None) -> list[str]:
        return [name for name, task in self.tasks.items() if kind in (None, task.kind)]
