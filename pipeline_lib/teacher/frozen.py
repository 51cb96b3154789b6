"""Phase 2 without the experts: what they and the gates said of the train rows, computed once and kept.

In phase 2 the perceiving half of the model is frozen and in evaluation mode, so it is a function of the row alone.
Kept per row: the blocks (D), both gates (T * (1 + 2 E)) and the mixed block (T * S), float32 on the CPU: about 6 KB a
row for 13 tasks and seven experts. Source: teacher.md section 15.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline_lib.teacher.frame import Frame
from pipeline_lib.teacher.gating import attend
from pipeline_lib.teacher.model import Perception, Teacher, TeacherOutput


@dataclass(frozen=True)
class FrozenView:
    """Answers like the model itself, for the rows it was made of. ``at`` (N,) places of rows in the other tensors."""

    model: Teacher
    frame: Frame
    at: Tensor
    blocks: Tensor  # (n, D)
    avail: Tensor  # (n, E)
    gate1: Tensor  # (n, T, 1 + E)
    gate2: Tensor  # (n, T, E)
    mixed: Tensor  # (n, T, S)

    @classmethod
    @torch.no_grad()
    def of(cls, model: Teacher, frame: Frame, rows: Tensor, batch_rows: int, device: torch.device) -> FrozenView:
        """One evaluation pass over ``rows``."""
        model.eval()
        found: list[list[Tensor]] = [[], [], [], [], []]
        for chunk in rows.split(batch_rows):
            batch = frame.batch(chunk).to(device)
            seen = model.perceive(batch)
            gate1, gate2 = model.gates(seen)
            mixed = model.mixture(batch.x[:, model.core], seen.blocks, gate1)
            kept = (torch.cat(seen.blocks, dim=1), seen.avail, gate1, gate2, mixed)
            for parts, tensor in zip(found, kept, strict=True):
                parts.append(tensor.cpu())
        at = torch.full((frame.rows,), -1)
        at[rows] = torch.arange(len(rows))
        return cls(model, frame, at, *(torch.cat(parts) for parts in found))

    def __call__(self, rows: Tensor, device: torch.device) -> TeacherOutput:
        kept = (t[self.at[rows]].to(device) for t in (self.blocks, self.avail, self.gate1, self.gate2, self.mixed))
        joined, avail, gate1, gate2, mixed = kept
        x = self.frame.x[rows].to(device)
        blocks = list(joined.split([len(self.model.defaults[n]) for n in self.model.expert_names], dim=1))
        logits, hidden = self.model.decide(x, mixed, attend(blocks, gate2, self.model.scales))
        return TeacherOutput(logits, gate1, gate2, hidden, Perception(blocks, avail, {}, {}))
