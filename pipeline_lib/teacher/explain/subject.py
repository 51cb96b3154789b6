"""What is explained: a finished teacher, its data, and how to compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.teacher.contract import Inputs, TaskSpec
from pipeline_lib.teacher.explain.view import CausalView
from pipeline_lib.teacher.frame import Frame
from pipeline_lib.teacher.model import Teacher, expert_of

CAUSAL = "causal"


@dataclass(frozen=True)
class Subject:
    """A finished teacher with its data, and how to compute."""

    model: Teacher
    inputs: Inputs
    tasks: Sequence[TaskSpec]
    frame: Frame
    columns: Sequence[str]
    """Names of the columns of x, in order."""
    batch_rows: int
    """Rows per forward pass."""
    train_rows: int
    """Rows per step of a side head."""
    seed: int
    device: torch.device


def causal_view(s: Subject) -> CausalView | None:
    """None where the source cannot feed the causal expert."""
    if CAUSAL not in s.model.expert_names:
        return None
    return CausalView(expert_of(s.model.experts, CAUSAL), s.inputs.columns_of(CAUSAL))


def newest_first(frame: Frame, rows: Tensor) -> Tensor:
    dates = frame.keys[rows.numpy()].with_row_index("at").sort("cutoff_date", descending=True, maintain_order=True)
    return rows[torch.from_numpy(dates["at"].to_numpy().astype(np.int64))]
