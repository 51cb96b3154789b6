"""Do the gate weights tell which experts a prediction used?

For task k and expert i, block i is replaced by its mean over the rows while the gates are held; the change of the
task's logit is what the prediction owed to that block. A weight explains when it orders the experts as the changes do:

    rho_k = mean over rows of Spearman_i( w_ki, |z_k - z_k(block i replaced)| )

over the experts that the row has an input for; a multiclass task's logit is that of its winning class. Weights are of
stage 2, the named ones. ``multi-factor`` is a row whose weights are so even that no expert may be named alone:
entropy over the largest possible one above a limit. How ours differs: the largest entropy is that of the experts the
row has, so a row with three of seven cannot look decided by lack of input.
``n`` rows, ``B`` batch, ``T`` tasks, ``E`` experts. Source: teacher.md 17.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline_lib.settings.teacher.explain import Faithfulness
from pipeline_lib.teacher.explain.ranks import mean_known, spearman_few
from pipeline_lib.teacher.explain.view import chunks, evaluating
from pipeline_lib.teacher.frame import Batch, Frame
from pipeline_lib.teacher.gating import entropy
from pipeline_lib.teacher.model import Perception, Teacher

MULTI_FACTOR = "multi-factor"


@dataclass(frozen=True)
class Reliance:
    """Per row: ``weights`` (n, T, E), ``changes`` (n, T, E) of the logits, ``avail`` (n, E)."""

    weights: Tensor
    changes: Tensor
    avail: Tensor


@torch.no_grad()
def reliance(model: Teacher, frame: Frame, rows: Tensor, batch_rows: int, device: torch.device) -> Reliance:
    """Two passes over ``rows``: the blocks' means over rows that have them, then the changes."""
    with evaluating(model):
        pieces = chunks(rows, batch_rows)
        means = _block_means(model, frame, pieces, device)
        parts = [_changes(model, frame.batch(piece).to(device), means) for piece in pieces]
    joined = [torch.cat(found).cpu() for found in zip(*parts, strict=True)]
    return Reliance(*joined)


def correlations(found: Reliance) -> Tensor:
    """Spearman between weights and changes of each row and task. (n, T) float64, NaN where undefined."""
    return spearman_few(found.weights, found.changes, found.avail[:, None].double())


def faithfulness(found: Reliance, tasks: tuple[str, ...], policy: Faithfulness) -> dict[str, Any]:
    """Per task and overall; ``passed`` when enough tasks reach the bound."""
    rho = correlations(found)
    per_task = {name: mean_known(rho[:, k]) for k, name in enumerate(tasks)}
    good = sum(value is not None and value > policy.min_correlation for value in per_task.values())
    needed = min(policy.min_tasks, len(tasks))
    return {
        "rows": len(rho),
        "tasks": per_task,
        "overall": mean_known(rho),
        "min_correlation": policy.min_correlation,
        "faithful_tasks": good,
        "needed_tasks": needed,
        "passed": good >= needed,
    }


def entropy_ratio(weights: Tensor, avail: Tensor) -> Tensor:
    """Entropy of the weights over the entropy of even weights on the experts a row has. (n, T, E), (n, E) -> (n, T).

    0 for a row with one expert: there is nothing to be undecided between.
    """
    largest = avail.sum(-1).clamp(min=1).double().log()[:, None]  # (n, 1) [nats]
    ratio = entropy(weights.double()) / largest
    return torch.where(largest > 0, ratio, torch.zeros(())).clamp(0, 1)


def lenses(weights: Tensor, avail: Tensor, names: tuple[str, ...], limit: float) -> list[str]:
    """The lens of each row and task, row-major: the heaviest expert's name, or ``multi-factor``, also without any."""
    undecided = ((entropy_ratio(weights, avail) > limit) | ~avail.any(-1, keepdim=True)).flatten()
    best = weights.argmax(-1).flatten()
    return [MULTI_FACTOR if u else names[i] for u, i in zip(undecided.tolist(), best.tolist(), strict=True)]


def _block_means(model: Teacher, frame: Frame, pieces: tuple[Tensor, ...], device: torch.device) -> list[Tensor]:
    """Mean block of each expert over the rows that have its input. E x (d_i,)."""
    total: list[Tensor] = []
    count = torch.zeros(len(model.expert_names), device=device)
    for piece in pieces:
        seen = model.perceive(frame.batch(piece).to(device))
        sums = [(b.double() * seen.avail[:, i, None]).sum(0) for i, b in enumerate(seen.blocks)]
        total = [a + b for a, b in zip(total, sums, strict=True)] if total else sums
        count += seen.avail.sum(0)
    return [(t / count[i].clamp(min=1)).float() for i, t in enumerate(total)]


def _changes(model: Teacher, batch: Batch, means: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    seen = model.perceive(batch)
    gate1, gate2 = model.gates(seen)
    start = _logits(model, batch, seen, gate1, gate2)
    winner = {name: z.argmax(-1, keepdim=True) for name, z in start.items() if z.dim() > 1}
    before = _winning(start, winner)  # (B, T)
    moved = []
    for i, mean in enumerate(means):
        blocks = [mean.expand_as(b) if i == j else b for j, b in enumerate(seen.blocks)]
        after = _logits(model, batch, Perception(blocks, seen.avail, {}, {}), gate1, gate2)
        moved.append((_winning(after, winner) - before).abs())
    return gate2, torch.stack(moved, dim=-1), seen.avail


def _logits(model: Teacher, batch: Batch, seen: Perception, gate1: Tensor, gate2: Tensor) -> dict[str, Tensor]:
    return model.decide(batch.x, *model.combine(batch.x, seen.blocks, gate1, gate2))[0]


def _winning(logits: dict[str, Tensor], winner: dict[str, Tensor]) -> Tensor:
    """Each task's logit, of the class that won before anything was replaced. (B, T)."""
    columns = [z.gather(1, winner[name])[:, 0] if name in winner else z for name, z in logits.items()]
    return torch.stack(columns, dim=1)
