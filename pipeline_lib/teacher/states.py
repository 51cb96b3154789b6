"""Slow states of a customer, projected for the baskets: hidden Markov states per time scale, and soft clusters.

    hmm_k     = valid ? SiLU(LN(Linear_m(x_m))) : default_m      m the mode of task k            (B, 32)
    cluster   = p @ E,  p the posterior over K clusters, E learned                               (B, 32)

A task reads exactly one mode: acquisition moves by days, lifecycle by months, spending by monthly regimes. A row
without a valid state reads the mode's learned default, so zeros never pass for a state. A mode, or the clusters, that
the source does not have are the default for every row: the width never changes. Source: teacher.md sections 7 and 8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pipeline_lib.errors import SettingsError
from pipeline_lib.teacher.contract import MODES, Mode, Range


class HiddenStates(nn.Module):
    """x (B, F) -> (B, T, dim). ``modes`` are those that the source has."""

    mode_of_task: Tensor

    def __init__(self, modes: Sequence[Mode], tasks: Sequence[str], mode_of: Mapping[str, str], dim: int) -> None:
        super().__init__()
        if missing := [task for task in tasks if task not in mode_of]:
            raise SettingsError(f"teacher.yaml: architecture.hmm.modes has no row for tasks {missing}")
        self._modes = {mode.name: mode for mode in modes}
        self._used = [m for m in MODES if any(mode_of[task] == m for task in tasks)]
        self.default = nn.ParameterDict({m: torch.zeros(dim) for m in self._used})
        self.project = nn.ModuleDict(
            {
                m: nn.Sequential(
                    nn.Linear(self._modes[m].end - self._modes[m].start, dim), nn.LayerNorm(dim), nn.SiLU()
                )
                for m in self._used
                if m in self._modes
            }
        )
        at = [self._used.index(mode_of[task]) for task in tasks]
        self.register_buffer("mode_of_task", torch.tensor(at), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        states = torch.stack([self._state(name, x) for name in self._used], dim=1)  # (B, M, dim)
        return states[:, self.mode_of_task]

    def _state(self, name: str, x: Tensor) -> Tensor:
        default: Tensor = self.default[name].expand(len(x), -1)
        if name not in self.project:
            return default
        mode = self._modes[name]
        state: Tensor = self.project[name](x[:, mode.start : mode.end])
        if mode.valid < 0:
            return state
        return torch.where(x[:, mode.valid, None] > 0.5, state.to(default.dtype), default)


class ClusterEmbedding(nn.Module):
    """x (B, F) -> (B, dim). ``routing`` is soft, hard or off."""

    def __init__(self, at: Range, dim: int, routing: str) -> None:
        super().__init__()
        self._at, self._hard = at, routing == "hard"
        self.table: nn.Parameter | None = None
        self.default: nn.Parameter | None = None
        if routing == "off" or at[1] == at[0]:
            self.default = nn.Parameter(torch.zeros(dim))
        else:
            self.table = nn.Parameter(torch.randn(at[1] - at[0], dim) * dim**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        if self.table is None:
            assert self.default is not None  # noqa: S101  one of the two exists
            return self.default.expand(len(x), -1)
        share = x[:, slice(*self._at)]  # (B, K)
        chosen: Tensor = self.table[share.argmax(dim=1)] if self._hard else share.to(self.table.dtype) @ self.table
        return chosen
