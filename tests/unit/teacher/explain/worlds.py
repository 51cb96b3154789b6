"""Small worlds whose truth is known: frames of plain numbers, and a causal expert whose drivers are written down."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl
import torch
from torch import Tensor

from pipeline_lib.settings.teacher.explain import Attribution
from pipeline_lib.teacher.experts.base import Expert, ExpertOut
from pipeline_lib.teacher.frame import Batch, Frame, Ragged

CPU = torch.device("cpu")
COLUMNS, ALWAYS, DRIVERS, ACTIVE, OFFSET = 100, 12, 65, 16, 6.0
"""Columns 0-11 are the same for everyone; of 12-99, 16 are active in a row; 12-64 drive, 65-99 are decoys."""


def policy(**changes: object) -> Attribution:
    values = {
        "enabled": True, "hidden": 128, "epochs": 8, "rate": 3e-3, "mean_decay": 0.99, "gate_rows": 1000,
        "min_variance_ratio": 0.5, "max_top10_overlap": 0.4, "noise_sigma": 0.05, "min_noise_spearman": 0.9,
        "min_target_spearman": 0.5, "top": 5,
    }  # fmt: skip
    return Attribution.model_validate({**values, **changes})


def frame_of(x: Tensor, parts: Sequence[str]) -> Frame:
    """A frame with nothing but x."""
    n = len(x)
    keys = pl.DataFrame(
        {
            "customer_key": np.arange(n, dtype=np.int32),
            "cutoff_date": [date(2026, 1, 5)] * n,
            "split": ["train"] * n,
            "part": list(parts),
        }
    )
    empty = Ragged.of(np.zeros((0, 2), np.float32), np.zeros(n, np.int64))
    return Frame(keys, x, torch.zeros(n, 0), empty, torch.zeros(n), {}, {}, 4)


class KnownDrivers(Expert):
    """Linear: s(x) = w . x with w = 1 for all but the decoys; the block carries s first and then all of x, mixed.

    What sets a row apart are its active drivers; the columns that are the same for everyone weigh more.
    """

    def __init__(self) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(3)
        self.weights = torch.ones(COLUMNS)
        self.weights[DRIVERS:] = 0.0
        self.level = torch.zeros(COLUMNS)
        self.level[:ALWAYS] = OFFSET
        self.mix = torch.linalg.qr(torch.randn(COLUMNS, COLUMNS, generator=g)).Q
        self.out_dim = 1 + COLUMNS

    def forward(self, batch: Batch) -> ExpertOut:
        own = batch.x - self.level
        block = torch.cat([4 * (own @ self.weights)[:, None], own @ self.mix], dim=1)
        return ExpertOut(block, diag={"z_raw": own @ self.mix})


def known_rows(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """x (n, COLUMNS), and which columns are a row's active drivers (n, COLUMNS) bool."""
    g = torch.Generator().manual_seed(seed)
    x = 0.4 * torch.randn(n, COLUMNS, generator=g)
    x[:, :ALWAYS] += OFFSET
    order = torch.rand(n, COLUMNS - ALWAYS, generator=g).argsort(dim=1)[:, :ACTIVE] + ALWAYS
    size = 2 + torch.rand(n, ACTIVE, generator=g)
    sign = torch.randint(0, 2, (n, ACTIVE), generator=g) * 2.0 - 1.0
    x.scatter_(1, order, size * sign)
    active = torch.zeros(n, COLUMNS, dtype=torch.bool).scatter_(1, order, torch.tensor(True).expand(n, ACTIVE))
    active[:, DRIVERS:] = False
    return x, active
