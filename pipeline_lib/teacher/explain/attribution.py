"""Which columns moved the causal expert, row by row (CEH, version 2).

    target    t(x) = (ds/dx) * x - m        m: running mean of (ds/dx) * x over the rows, per column
    head      a(h) = c * MLP(sg(h))         d -> hidden -> F, trained on mean (MLP - t / c)^2

Without m every row gets nearly the same answer, because the columns' means outweigh what sets a row apart. The head
reads the expert's block and nothing else; it learns after the teacher, which therefore cannot notice it. What leaves
the stage is the head, or the target itself (``exact``) where the head does not pass ``quality``.
Shapes: ``B`` batch, ``F`` columns of the expert, d its block. Source: teacher.md 17.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline_lib.errors import ContractError
from pipeline_lib.teacher.explain.view import CausalView, chunks, main_direction
from pipeline_lib.teacher.frame import Batch, Frame

Method = Literal["head", "exact"]


class Head(nn.Module):
    """d -> hidden -> F, times a fixed scale in units of the readout. (B, d) -> (B, F)."""

    def __init__(self, width: int, hidden: int, columns: int, scale: float) -> None:
        super().__init__()
        self.stack = nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, columns))
        self.scale = scale

    def forward(self, block: Tensor) -> Tensor:
        out: Tensor = self.stack(block) * self.scale
        return out


class RunningMean:
    """Exponential mean of the batches' means, per column; the start does not pull it towards 0. (F,)."""

    def __init__(self, decay: float) -> None:
        self._decay, self._sum, self._weight = decay, torch.zeros(()), 0.0

    def add(self, values: Tensor) -> None:
        self._sum = self._decay * self._sum.to(values.device) + (1 - self._decay) * values.mean(0)
        self._weight = self._decay * self._weight + 1 - self._decay

    @property
    def value(self) -> Tensor:
        mean: Tensor = self._sum / self._weight
        return mean


@dataclass(frozen=True)
class Attributor:
    """Attribution of rows, by one of two methods. ``mean`` (F,) of the target; ``head`` is None under ``exact``."""

    view: CausalView
    readout: Tensor
    mean: Tensor
    head: Head | None

    @property
    def method(self) -> Method:
        return "head" if self.head else "exact"

    def of(self, batch: Batch) -> Tensor:
        """(B, F), in units of the readout; a row's answer does not depend on the other rows."""
        if self.head is None:
            return self.view.gradient_times_input(batch, self.readout) - self.mean
        with torch.no_grad():
            found: Tensor = self.head(self.view.block(batch))
        return found

    def exact(self) -> Attributor:
        return Attributor(self.view, self.readout, self.mean, None)

    def readings(self, batch: Batch) -> Tensor:
        """The scalar that is attributed, s (B,)."""
        return self.view.block(batch) @ self.readout

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        own = {"readout": self.readout, "mean": self.mean}
        if self.head is not None:
            own |= {f"head.{name}": value for name, value in self.head.state_dict().items()}
            own["head.scale"] = torch.tensor(self.head.scale)
        return {name: value.detach().cpu().contiguous() for name, value in own.items()}


def fit_attributor(
    view: CausalView,
    frame: Frame,
    rows: Tensor,
    *,
    hidden: int,
    epochs: int,
    rate: float,
    decay: float,
    batch_rows: int,
    sample_rows: int,
    seed: int,
    device: torch.device,
) -> Attributor:
    """Learn the head and the mean on ``rows`` (part fit) of a finished teacher.

    Args:
        sample_rows: rows that fix readout and scale.

    Raises:
        ContractError: there are no rows, or the expert says the same about all of them.
    """
    if not len(rows):
        raise ContractError("attribution: no row to learn from")
    sample = [frame.batch(chunk).to(device) for chunk in chunks(rows[:sample_rows], batch_rows)]
    readout = main_direction(torch.cat([view.block(batch) for batch in sample]))
    targets = torch.cat([view.gradient_times_input(batch, readout) for batch in sample])
    scale = float(targets.std(0, correction=0).square().mean().sqrt())
    if not scale > 0:
        raise ContractError("attribution: the causal expert does not react to any of its columns")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = Head(len(readout), hidden, len(view.columns), scale).to(device)
    fitting = Fitting(view, readout, head, RunningMean(decay), torch.optim.AdamW(head.parameters(), rate))
    shuffle = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for chunk in chunks(rows[torch.randperm(len(rows), generator=shuffle)], batch_rows):
            fitting.step(frame.batch(chunk).to(device))
    return Attributor(view, readout, fitting.mean.value, head)


@dataclass
class Fitting:
    """A head in training."""

    view: CausalView
    readout: Tensor
    head: Head
    mean: RunningMean
    optimiser: torch.optim.Optimizer

    def step(self, batch: Batch) -> float:
        """One batch; returns its loss, 1 for a head that answers 0."""
        target = self.view.gradient_times_input(batch, self.readout)
        self.mean.add(target)
        wanted = (target - self.mean.value) / self.head.scale
        loss = (self.head.stack(self.view.block(batch)) - wanted).square().mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())
