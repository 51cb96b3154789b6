"""Temporal: order, rhythm and silence, from three views of the same event stream.

    scan   selective state space (Mamba)      its state at the last event
    cell   closed-form liquid cell (CfC)      one step from a learned h0 over the time since the last event
    patch  PatchTST                           masked mean over patches of the raw sequence
    y = LN( sum_i g_i Proj_i(z_i) ),  g = softmax(Linear(ReLU(Linear([z_1 z_2 z_3]))))

Papers: Gu and Dao, "Mamba", 2023; Hasani et al., "Closed-form continuous-time neural networks", 2022; Nie et al.,
"A Time Series is Worth 64 Words", ICLR 2023.

Input steps (B, L, C), days (B, L), length (B,), gap (B,); output (B, out_dim); ``diag["temporal_gate"]`` (B, 3) is g,
in the order above. How ours differs: one stream where the design has two, because no source has app sessions, so the
branches have one input each; the time between steps enters as ln(1 + days) beside the channels; the patch branch mixes
channels in its patch embedding. A row without events is marked unavailable and keeps the model's default.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline_lib.settings.teacher import experts as settings
from pipeline_lib.teacher.contract import Inputs
from pipeline_lib.teacher.experts.base import Expert, ExpertOut
from pipeline_lib.teacher.frame import Batch
from pipeline_lib.teacher.seq.liquid import ClosedFormCell
from pipeline_lib.teacher.seq.patch import PatchEncoder
from pipeline_lib.teacher.seq.scan import SelectiveScan


def lacks(inputs: Inputs, options: settings.Temporal) -> str | None:
    return None if inputs.channels and inputs.max_steps else "the source has no event sequence"


def columns(inputs: Inputs) -> tuple[int, ...]:
    return ()


def build(inputs: Inputs, options: settings.Temporal) -> Temporal:
    channels = inputs.channels + 1
    s, c, p = options.scan, options.cell, options.patch
    scan = SelectiveScan(channels, s.width, s.expand, s.states, s.conv, s.rank, s.chunk)
    cell = ClosedFormCell(s.width, c.width, c.hidden, c.max_gap_days)
    patch = PatchEncoder(channels, p.length, p.width, p.heads, p.layers, p.hidden, options.dropout)
    return Temporal(scan, cell, patch, (s.width, c.width, p.width), options.out_dim)


class Temporal(Expert):
    def __init__(
        self,
        scan: SelectiveScan,
        cell: ClosedFormCell,
        patch: PatchEncoder,
        widths: tuple[int, int, int],
        out_dim: int,
    ) -> None:
        super().__init__()
        self.out_dim = out_dim
        self.scan, self.cell, self.patch = scan, cell, patch
        self.project = nn.ModuleList(nn.Linear(width, out_dim) for width in widths)
        self.gate = nn.Sequential(nn.Linear(sum(widths), 6), nn.ReLU(), nn.Linear(6, len(widths)))
        self.norm = nn.LayerNorm(out_dim)

    def forward(self, batch: Batch) -> ExpertOut:
        length = batch.length.clamp(min=1)  # an empty row reads one zero step; its output is replaced later
        steps = torch.cat([batch.steps, batch.days.log1p()[..., None]], dim=-1)  # (B, L, C + 1)
        last = self.scan(steps, length)  # (B, width)
        views = [last, self.cell(last, batch.gap), self.patch(steps, length)]
        weights = self.gate(torch.cat(views, dim=1)).float().softmax(dim=1)  # (B, 3)
        mixed = torch.stack([p(z) for p, z in zip(self.project, views, strict=True)], dim=1)  # (B, 3, out_dim)
        h = self.norm((weights[..., None] * mixed).sum(1))  # (B, out_dim)
        return ExpertOut(h, diag={"temporal_gate": weights.detach()})

    def fed(self, batch: Batch) -> Tensor:
        return batch.length > 0
