"""One loop for every network: the protocol of the benchmark.

Batch 1,024, Adam 1e-3 without decay, mean of the two binary cross-entropies, at most 30 epochs, stop after 3 epochs
without a better mean validation AUC, test at the best one. A ``Recipe`` says where a row leaves the protocol.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.census.data import Census, Part
from pipeline_lib.teacher.metrics import auc

BATCH, RATE, EPOCHS, PATIENCE = 1024, 1e-3, 30, 3


@dataclass(frozen=True)
class Recipe:
    """The protocol, and the only things a row may change."""

    epochs: int = EPOCHS
    patience: int = PATIENCE
    decay: float = 0.0
    """AdamW's weight decay."""
    average: float = 0.0
    """Share that an averaged copy of the weights keeps per step; the copy is what is judged. 0 = no copy."""
    cosine: bool = False
    """Rate falls to 0 over ``epochs`` as half a cosine."""


@dataclass(frozen=True)
class Outcome:
    test: np.ndarray
    """Probabilities at the best validation epoch (N_test, 2)."""
    validation: list[list[float]]
    """AUC of each task after each epoch."""
    best_epoch: int
    epochs: int
    train_cpu: float
    """Process CPU time of the batches [s]."""
    total_cpu: float
    """With evaluation [s]."""


class Batches:
    """Rows by index, and the loss of a network on them. A network returns logits or probabilities (B, 2)."""

    def __init__(self, net: nn.Module, part: Part) -> None:
        prepare: Callable[[Part], tuple[Tensor, ...]] = getattr(net, "prepare", lambda p: (p.ids, p.numbers))
        self.net, self.inputs, self.y = net, prepare(part), part.y
        self._loss = F.binary_cross_entropy if getattr(net, "gives_probabilities", False) else _from_logits

    def loss(self, rows: Tensor) -> Tensor:
        return self._loss(self.net(*(x[rows] for x in self.inputs)), self.y[rows])


def _from_logits(z: Tensor, y: Tensor) -> Tensor:
    """Mean over rows and tasks, and over members where the network has some (B, M, 2): each is a model of its own."""
    y = y if z.dim() == 2 else y[:, None].expand_as(z)
    return F.binary_cross_entropy_with_logits(z, y)


def optimizer(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Adam in its fused form for every row."""
    return torch.optim.AdamW(net.parameters(), RATE, weight_decay=recipe.decay, fused=True)


class Average:
    """A copy that follows the weights: plain mean at first, exponential once that forgets faster.

    Source: Polyak and Juditsky, 1992; Izmailov et al., "Averaging Weights Leads to Wider Optima", UAI 2018.
    """

    def __init__(self, net: nn.Module, keep: float) -> None:
        self.net, self._keep, self._steps = copy.deepcopy(net), keep, 0
        self._pairs = list(self.net.parameters()), list(net.parameters())

    @torch.no_grad()
    def follow(self) -> None:
        self._steps += 1
        torch._foreach_lerp_(*self._pairs, 1 - min(self._keep, 1 - 1 / self._steps))


def step(batches: Batches, adam: torch.optim.Optimizer, rows: Tensor, average: Average | None) -> None:
    """One batch: the only thing that is timed as training."""
    adam.zero_grad()
    batches.loss(rows).backward()
    adam.step()
    if average:
        average.follow()


def train(net: nn.Module, census: Census, seed: int, recipe: Recipe) -> Outcome:
    """The whole protocol."""
    start, train_cpu = time.process_time(), 0.0
    batches, order = Batches(net, census.parts["train"]), torch.Generator().manual_seed(seed)
    adam = optimizer(net, recipe)
    average = Average(net, recipe.average) if recipe.average else None
    judged = average.net if average else net
    seen: list[list[float]] = []
    best, kept = 0, copy.deepcopy(judged.state_dict())
    for epoch in range(recipe.epochs):
        for group in adam.param_groups:
            group["lr"] = rate(recipe, epoch)
        net.train()
        since = time.process_time()
        for rows in torch.randperm(len(batches.y), generator=order).split(BATCH):
            step(batches, adam, rows, average)
        train_cpu += time.process_time() - since
        seen.append(aucs(census.parts["val"], predict(judged, census.parts["val"])))
        if epoch == 0 or np.mean(seen[-1]) > np.mean(seen[best]):
            best, kept = epoch, copy.deepcopy(judged.state_dict())
        if epoch - best >= recipe.patience:
            break
    judged.load_state_dict(kept)
    test = predict(judged, census.parts["test"])
    return Outcome(test, seen, best + 1, len(seen), train_cpu, time.process_time() - start)


def rate(recipe: Recipe, epoch: int) -> float:
    """Adam's rate in an epoch: constant, or half a cosine over all epochs."""
    return RATE * (1 + math.cos(math.pi * epoch / recipe.epochs)) / 2 if recipe.cosine else RATE


@torch.no_grad()
def predict(net: nn.Module, part: Part) -> np.ndarray:
    """Probabilities (N, 2); the mean over members where the network has some."""
    net.eval()
    batches = Batches(net, part)
    outs = [net(*(x[rows] for x in batches.inputs)) for rows in torch.arange(len(part.y)).split(4 * BATCH)]
    out = torch.cat(outs)
    p = out if getattr(net, "gives_probabilities", False) else out.double().sigmoid()
    return (p.mean(1) if p.dim() == 3 else p).double().numpy()


def aucs(part: Part, p: np.ndarray) -> list[float]:
    """One per task; both classes are in every split of the set."""
    found = [auc(part.y[:, k].double().numpy(), p[:, k]) for k in range(part.y.shape[1])]
    return [float("nan") if value is None else value for value in found]
