"""Is every part of a network alive? The gradient of the plain task losses on the first batch, part by part.

A switch whose parameters get no gradient changes nothing, whatever the table below it says: published tables had
whole gate stages that no prediction read. Source: teacher.md sections 6 and 19 (sanity gate).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pipeline_lib.teacher.ablation.material import hash_of
from pipeline_lib.teacher.frame import FIT
from pipeline_lib.teacher.plan import Plan
from pipeline_lib.teacher.step import Trainee

SPARE = ("defaults",)
"""Parts that rows with all their inputs do not use."""
_BY_CHILD = ("experts", "transfer", "net")


def first_look(trainee: Trainee, plan: Plan) -> tuple[str, dict[str, float]]:
    """Hash of the first batch's logits, and part -> gradient norm. Leaves weights, gradients and modes as found."""
    rows = trainee.frame.part(FIT)[: min(plan.batch_rows, plan.micro_rows)]
    model = trainee.model
    model.eval()
    batch = trainee.frame.batch(rows).to(trainee.device)
    output = model(batch)
    logits = torch.cat([z.detach().flatten() for z in output.logits.values()])
    losses = trainee.losses(output, rows, plan.loss)
    torch.stack([*losses.values(), *output.seen.aux.values()]).sum().backward()
    norms = norms_of(model)
    model.zero_grad(set_to_none=True)
    return hash_of(logits.cpu().numpy()), norms


def norms_of(model: nn.Module) -> dict[str, float]:
    """Part -> norm of the gradients of its trainable parameters."""
    squares: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        part = part_of(name)
        own = torch.zeros(()) if parameter.grad is None else parameter.grad.square().sum().cpu()
        squares[part] = squares.get(part, torch.zeros(())) + own
    return {part: math.sqrt(float(square)) for part, square in squares.items()}


def part_of(name: str) -> str:
    """``experts.hgcn`` of an expert's weight, ``transfer.a__b`` of an edge's, the child's name of any other."""
    path = [step for step in name.split(".") if step != "blocks"]
    return ".".join(path[:2]) if path[0] in _BY_CHILD else path[0]


def dead_parts(gradients: dict[str, float]) -> list[str]:
    return sorted(part for part, norm in gradients.items() if norm == 0 and part not in SPARE)
