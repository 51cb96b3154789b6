"""Rows to try an out-of-distribution flag on: some that cannot exist, some that will.

Impossible (the flag must find them): ``uniform`` in [-3, 3]; ``permuted``, each column shuffled among the rows, so that
every value is real and no combination is; ``extreme``, every column 8 to 12 standard deviations out.
Realistic (reported, not judged): ``one_column``, one column far out; ``one_group``, one feature group lost, all zeros.
Values are in the scaled units of x, standard deviations for most columns. ``n`` rows, ``F`` columns.
Source: teacher.md 17.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

IMPOSSIBLE = ("uniform", "permuted", "extreme")
REALISTIC = ("one_column", "one_group")


def probes(own: Tensor, groups: Sequence[Sequence[int]], seed: int) -> dict[str, Tensor]:
    """Name -> (n, F), made from real rows ``own`` (n, F); ``groups`` lists the columns of each feature group."""
    chance = torch.Generator().manual_seed(seed)
    n, width = own.shape
    sign = torch.randint(0, 2, (n, width), generator=chance) * 2.0 - 1.0
    extreme = sign * (8 + 4 * torch.rand(n, width, generator=chance))
    shuffled = torch.rand(n, width, generator=chance).argsort(dim=0)
    column = torch.randint(0, width, (n, 1), generator=chance)
    lost = torch.randint(0, len(groups), (n,), generator=chance)
    member = torch.zeros(len(groups), width, dtype=torch.bool)
    for i, columns in enumerate(groups):
        member[i, list(columns)] = True
    return {
        "uniform": 6 * torch.rand(n, width, generator=chance) - 3,
        "permuted": own.gather(0, shuffled),
        "extreme": extreme,
        "one_column": own.scatter(1, column, extreme.gather(1, column)),
        "one_group": own.masked_fill(member[lost], 0.0),
    }
