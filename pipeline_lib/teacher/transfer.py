"""Logit transfer: what one task found, given to another before it answers. A directed graph without cycles.

    output_concat   h' = SiLU(LN(Linear([h, p_src])))      p_src the source's activated prediction
    hidden_concat   h' = SiLU(LN(Linear([h, h_src])))
    residual        h' = h + alpha * Linear0(SiLU(Linear(p_src)))    Linear0 starts at zero

The residual starts exactly off and keeps the magnitude of a scalar source; a LayerNorm there could do neither.
``detach`` stops the target's gradient at the source, which protects the source's calibration. Tasks run level by
level: a level is what depends only on levels before it. ``H`` basket width. Source: teacher.md section 9.
"""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter

import torch
from torch import Tensor, nn

from pipeline_lib.errors import SettingsError
from pipeline_lib.settings.teacher.structure import TransferEdge
from pipeline_lib.teacher.contract import TaskSpec

_HIDDEN = 32


class Transfer(nn.Module):
    """Edges between active tasks. ``levels`` are the tasks' numbers in the order in which they can answer.

    Raises:
        SettingsError: an unknown task, an edge from a task to itself, the same edge twice, or a cycle.
    """

    def __init__(
        self,
        edges: Sequence[TransferEdge],
        tasks: Sequence[TaskSpec],
        known: Sequence[str],
        width: int,
        alpha: float,
    ) -> None:
        super().__init__()
        _require_sound(edges, known)
        at = {task.name: i for i, task in enumerate(tasks)}
        alive = sorted((e for e in edges if e.source in at and e.target in at), key=lambda e: (e.target, e.source))
        self.levels = levels([task.name for task in tasks], alive)
        self._alpha, self._kinds = alpha, [task.kind for task in tasks]
        self._into: dict[int, list[tuple[str, int, TransferEdge]]] = {}
        blocks: dict[str, nn.Module] = {}
        for edge in alive:
            name = f"{edge.source}__{edge.target}"
            blocks[name] = _block(edge.mode, width, tasks[at[edge.source]].out)
            self._into.setdefault(at[edge.target], []).append((name, at[edge.source], edge))
        self.blocks = nn.ModuleDict(blocks)

    def receive(self, target: int, h: Tensor, hidden: dict[int, Tensor], logits: dict[int, Tensor]) -> Tensor:
        """The target's state (B, H) after its sources, which have answered. Returns ``h`` itself without an edge."""
        for name, source, edge in self._into.get(target, []):
            given = hidden[source] if edge.mode == "hidden_concat" else _activated(logits[source], self._kinds[source])
            given = given.detach() if edge.detach else given
            block = self.blocks[name]
            if edge.mode == "residual":
                h = h + self._alpha * block(given)
            else:
                h = block(torch.cat([h, given.to(h.dtype)], dim=1))
        return h


def levels(names: Sequence[str], edges: Sequence[TransferEdge]) -> list[list[int]]:
    """Numbers of the tasks, level by level; inside a level in catalogue order.

    Raises:
        SettingsError: a cycle, named.
    """
    sorter = TopologicalSorter({name: sorted(e.source for e in edges if e.target == name) for name in names})
    found: list[list[int]] = []
    try:
        sorter.prepare()
    except CycleError as error:
        raise SettingsError(f"teacher.yaml: transfer edges form a cycle: {' -> '.join(error.args[1])}") from error
    while sorter.is_active():
        ready = sorter.get_ready()
        found.append(sorted(names.index(name) for name in ready))
        sorter.done(*ready)
    return found


def _require_sound(edges: Sequence[TransferEdge], known: Sequence[str]) -> None:
    pairs = [(e.source, e.target) for e in edges]
    if unknown := sorted({name for pair in pairs for name in pair} - set(known)):
        raise SettingsError(f"teacher.yaml: transfer edges name tasks {unknown} that tasks.yaml does not have")
    if twice := sorted({pair for pair in pairs if pairs.count(pair) > 1}):
        raise SettingsError(f"teacher.yaml: transfer edges {twice} are written twice")
    if own := [source for source, target in pairs if source == target]:
        raise SettingsError(f"teacher.yaml: transfer edges of {own} lead to themselves")
    levels(sorted({name for pair in pairs for name in pair}), edges)  # a cycle is one on every source


def _block(mode: str, width: int, out: int) -> nn.Module:
    if mode == "residual":
        last = nn.Linear(_HIDDEN, width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        return nn.Sequential(nn.Linear(out, _HIDDEN), nn.SiLU(), last)
    given = width if mode == "hidden_concat" else out
    return nn.Sequential(nn.Linear(width + given, width), nn.LayerNorm(width), nn.SiLU())


def _activated(logit: Tensor, kind: str) -> Tensor:
    """Probability, class probabilities, or the standardised value. (B,) or (B, K) -> (B, out)."""
    if kind == "multiclass":
        return logit.softmax(-1)
    return (torch.sigmoid(logit) if kind == "binary" else logit)[:, None]
