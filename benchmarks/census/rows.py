"""The rows of the table: how each network is built, and where its training leaves the protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.census import peers
from benchmarks.census.data import TASKS, Census
from benchmarks.census.training import Recipe
from pipeline_lib.teacher.classic import PLE, SharedBottom
from pipeline_lib.teacher.classic.ensemble import BatchEnsemble
from pipeline_lib.teacher.classic.fields import FieldLayer
from pipeline_lib.teacher.classic.piecewise import PiecewiseLinear

Build = Callable[[Census, int], nn.Module]


@dataclass(frozen=True)
class Row:
    label: str
    build: Build | None
    """None: trees."""
    spec: str
    """Everything that decides the result beside the protocol; a result with another one is not reused."""
    recipe: Recipe = Recipe()
    bins: int = 32
    needs: str = ""
    """Package that must be installed."""
    group: str = "ours"
    """ours, peer or trees; and ``tried`` for ablations, which are not in the main table."""


class Net(nn.Module):
    """Fields, then a network over one tensor. Ids (B, F) and numbers (B, V) -> logits (B, 2)."""

    def __init__(self, fields: FieldLayer, body: nn.Module) -> None:
        super().__init__()
        self.fields, self.body = fields, body

    def forward(self, ids: Tensor, numbers: Tensor) -> Tensor:
        return torch.stack(list(self.body(self.fields(ids, numbers)).values()), dim=-1)


def ours(kind: type[nn.Module], std: float = 0.05, dim: int = 8, piecewise: bool = False, **shape: object) -> Build:
    def build(census: Census, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        numbers = PiecewiseLinear(census.fields.knots(), dim) if piecewise else None
        fields = FieldLayer(census.fields.sizes, census.fields.numbers, dim, std, numbers)
        return Net(fields, kind(fields.width, dict.fromkeys(TASKS, 1), **shape))

    return build


def _peer(label: str, build: Callable[..., nn.Module], kind: str, *extra: float) -> Row:
    needs = "torch_rechub" if build is peers.rechub else "deepctr_torch"
    return Row(
        label, lambda census, seed: build(kind, census, seed, *extra), f"{label} {extra}", needs=needs, group="peer"
    )


def _ours(label: str, kind: type[nn.Module], recipe: Recipe = Recipe(), group: str = "ours", bins: int = 32,  # noqa: B008
          **shape: object) -> Row:  # fmt: skip
    return Row(label, ours(kind, **shape), f"{kind.__name__} {shape}", recipe, bins, group=group)


ROWS: Mapping[str, Row] = {
    "ple": _ours("ours: PLE", PLE, hidden=(88, 64), tower=(32,)),
    "ensemble": _ours("ours: ensemble of 4 in one network", BatchEnsemble, hidden=(256, 128), members=4, dropout=0.1),
    "shared": _ours("ours: shared bottom", SharedBottom, hidden=(192, 96), tower=(32,)),
    "rechub-ple": _peer("torch-rechub PLE", peers.rechub, "ple"),
    "rechub-mmoe": _peer("torch-rechub MMoE", peers.rechub, "mmoe"),
    "deepctr-ple": _peer("deepctr-torch PLE, defaults", peers.deepctr, "ple"),
    "deepctr-mmoe": _peer("deepctr-torch MMoE, defaults", peers.deepctr, "mmoe"),
    "deepctr-ple-005": _peer("deepctr-torch PLE, init_std 0.05", peers.deepctr, "ple", 0.05),
    "deepctr-mmoe-005": _peer("deepctr-torch MMoE, init_std 0.05", peers.deepctr, "mmoe", 0.05),
    "ple-averaged": _ours(
        "PLE, dropout 0.1, averaged weights",
        PLE,
        Recipe(average=0.999),
        "tried",
        hidden=(88, 64),
        tower=(32,),
        dropout=0.1,
    ),
    "ple-piecewise": _ours(
        "PLE, piecewise-linear numbers", PLE, group="tried", hidden=(80, 64), tower=(32,), piecewise=True
    ),
    "ensemble-small": _ours(
        "ensemble of 4, 90k parameters", BatchEnsemble, group="tried", hidden=(192, 96), members=4, dropout=0.1
    ),
    "lightgbm": Row("LightGBM, one per task", None, "trees.SETTINGS", group="trees"),
}
