"""Training samples per CPU-second, all networks in turn, and what one core can do at most.

Each repetition measures a 1,024^3 sgemm and then 40 batches of every network by one loop, so that a busy machine is
busy for all of them. Share of sgemm: floating-point operations that PyTorch counts in one forward and backward pass,
times samples per second, over the sgemm's rate of the same repetition.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.census import peers, training
from benchmarks.census.data import Census
from benchmarks.census.rows import Row

STEPS, GEMM, GEMM_TIMES = 40, 1024, 20


@dataclass
class Speed:
    samples: list[float] = field(default_factory=list)
    """Per CPU-second, one for each repetition."""
    share: list[float] = field(default_factory=list)
    own_trainer: list[float] = field(default_factory=list)
    """The library's own training loop, samples per CPU-second; empty for ours."""


def measure(rows: Mapping[str, Row], census: Mapping[int, Census], times: int, steps: int = STEPS) -> dict[str, Speed]:
    """Every row but the trees, ``times`` repetitions."""
    runs = {name: _Run(row, census[row.bins], steps) for name, row in rows.items() if row.build}
    found = {name: Speed() for name in runs}
    for _ in range(times):
        limit = sgemm()
        for name, run in runs.items():
            per_s = run.samples_per_cpu_s()
            found[name].samples.append(per_s)
            found[name].share.append(per_s * run.operations / limit)
    for name, run in runs.items():
        for _ in range(min(times, 2)):
            if own := run.own_trainer():
                found[name].own_trainer.append(own)
    return found


def sgemm() -> float:
    """[floating-point operations per CPU-second]"""
    a, b = torch.randn(GEMM, GEMM), torch.randn(GEMM, GEMM)
    a @ b
    start = time.process_time()
    for _ in range(GEMM_TIMES):
        a @ b
    return GEMM_TIMES * 2 * GEMM**3 / (time.process_time() - start)


class _Run:
    """A network with its optimizer, warm, and batches to go on with."""

    def __init__(self, row: Row, census: Census, steps: int) -> None:
        assert row.build is not None
        self._part = census.parts["train"]
        self._net = row.build(census, 0)
        self._batches = training.Batches(self._net, self._part)
        self._adam, self._recipe = training.optimizer(self._net, row.recipe), row.recipe
        self._rows = torch.randperm(len(self._part.y))[: steps * training.BATCH]
        with FlopCounterMode(display=False) as counter:
            self._batches.loss(self._rows[: training.BATCH]).backward()
        self.operations = counter.get_total_flops() / len(self._rows[: training.BATCH])
        self._pass()

    def samples_per_cpu_s(self) -> float:
        start = time.process_time()
        self._pass()
        return len(self._rows) / (time.process_time() - start)

    def _pass(self) -> None:
        average = training.Average(self._net, self._recipe.average) if self._recipe.average else None
        for rows in self._rows.split(training.BATCH):
            training.step(self._batches, self._adam, rows, average)

    def own_trainer(self) -> float | None:
        """One pass over the same number of rows by the library's own loop; None: it has none."""
        train = peers.own_trainer(self._net, self._part, self._rows)
        if train is None:
            return None
        start = time.process_time()
        train()
        return len(self._rows) / (time.process_time() - start)
