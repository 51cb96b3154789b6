"""Policy of the teacher: ``config/teacher.yaml``. Sections of teacher.md are the sources unless one is named."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline_lib.settings.base import Section
from pipeline_lib.settings.teacher.experts import EXPERTS, ExpertName
from pipeline_lib.settings.teacher.explain import Explain
from pipeline_lib.settings.teacher.structure import Architecture, Gating
from pipeline_lib.settings.teacher.training import (
    AdaTT,
    Calibration,
    GradientMethod,
    Loss,
    Selection,
    Training,
    Weighting,
)

__all__ = ["EXPERTS", "Architecture", "Calibration", "ExpertName", "Gating", "Teacher"]


class Teacher(Section):
    seed: int = Field(ge=0)
    device: Literal["auto", "cpu", "cuda"]
    threads: int = Field(ge=1)
    """Threads of torch on the CPU; part of the result, hence not a fact of the place."""
    predict_batch: int = Field(ge=1)
    """Rows per forward pass of the soft labels. Source: distillation.md 4."""
    experts: list[ExpertName] = Field(min_length=1)
    """Experts in the order of every gate tensor; one whose input a source does not have is left out, and said so."""
    architecture: Architecture
    gating: Gating
    loss: Loss
    weighting: Weighting
    adatt: AdaTT
    gradients: GradientMethod
    training: Training
    selection: Selection
    calibration: Calibration
    explain: Explain
    degenerate_std: float = Field(ge=0)
    """A task whose soft labels vary less is reported as degenerate. Source: distillation.md 4."""

    @model_validator(mode="after")
    def _in_order(self) -> Teacher:
        if self.experts != [name for name in EXPERTS if name in self.experts]:
            raise ValueError(f"experts {self.experts} must be distinct and in the order {list(EXPERTS)}")
        if self.adatt.enabled and self.gradients.method != "none":
            raise ValueError("adatt and a gradient method both change the tasks' gradients: enable one")
        return self
