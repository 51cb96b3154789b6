"""Other people's networks, at about 150k parameters like ours, behind our loop and behind their own.

torch-rechub 0.9.0 and deepctr-torch 0.3.0 (extra ``bench``) are imported when a row asks for one. Both take one id
and one table per category and the standardised numbers, as their examples do. PLE: 1 expert per task, 1 shared, 2
levels. MMoE: 3 experts. deepctr-torch asks PyPI for its newest version in a thread
when it is imported, and needs ``requests`` for that without declaring it: here it does not get to ask.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.census.data import TASKS, Census, Part

EMBEDDING = 8


def rechub(kind: str, census: Census, seed: int) -> nn.Module:
    """``kind``: ple or mmoe."""
    from torch_rechub.basic.features import DenseFeature, SparseFeature
    from torch_rechub.models.multi_task import MMOE, PLE

    torch.manual_seed(seed)
    sizes = census.fields.sizes
    columns = [SparseFeature(n, sizes[k], embed_dim=EMBEDDING) for k, n in enumerate(census.categories)]
    columns += [DenseFeature(n) for n in census.numbers]
    types, tower = ["classification"] * len(TASKS), [{"dims": [32]} for _ in TASKS]
    if kind == "ple":
        net = PLE(columns, types, 2, 1, 1, {"dims": [96, 64]}, tower)
    else:
        net = MMOE(columns, types, 3, {"dims": [144, 64]}, tower)
    return Rechub(net, census)


class Rechub(nn.Module):
    """Takes ids (B, F) and numbers (B, V); the library wants a dictionary of columns."""

    gives_probabilities = True

    def __init__(self, net: nn.Module, census: Census) -> None:
        super().__init__()
        self.net = net
        self._census = (census.categories, census.numbers, _offsets(census))

    def prepare(self, part: Part) -> tuple[Tensor, Tensor]:
        categories, _, offsets = self._census
        return part.ids[:, : len(categories)] - offsets, part.numbers

    def forward(self, ids: Tensor, numbers: Tensor) -> Tensor:
        out: Tensor = self.net(self.columns(ids, numbers))
        return out

    def columns(self, ids: Tensor, numbers: Tensor) -> dict[str, Tensor]:
        categories, names, _ = self._census
        return dict(zip((*categories, *names), (*ids.unbind(1), *numbers.unbind(1)), strict=True))


def deepctr(kind: str, census: Census, seed: int, std: float = 1e-4) -> nn.Module:
    """``kind``: ple or mmoe; ``std`` of all initial weights, 1e-4 is the library's default."""
    _without_network()
    from deepctr_torch.inputs import DenseFeat, SparseFeat
    from deepctr_torch.models import MMOE, PLE

    sizes = census.fields.sizes
    columns = [SparseFeat(n, sizes[k], EMBEDDING) for k, n in enumerate(census.categories)]
    columns += [DenseFeat(n, 1) for n in census.numbers]
    shared = {"task_types": ["binary"] * len(TASKS), "task_names": list(TASKS), "seed": seed, "init_std": std}
    shared |= {"l2_reg_embedding": 0.0, "l2_reg_linear": 0.0, "tower_dnn_hidden_units": (32,)}
    if kind == "ple":
        net = PLE(columns, expert_dnn_hidden_units=(88, 64), gate_dnn_hidden_units=(16,), **shared)
    else:
        net = MMOE(columns, expert_dnn_hidden_units=(136, 64), gate_dnn_hidden_units=(16,), **shared)
    return DeepCtr(net, census)


class DeepCtr(nn.Module):
    """Takes one float matrix (B, F + V)."""

    gives_probabilities = True

    def __init__(self, net: nn.Module, census: Census) -> None:
        super().__init__()
        self.net = net
        self._offsets, self._count = _offsets(census), len(census.categories)

    def prepare(self, part: Part) -> tuple[Tensor]:
        return (torch.cat([(part.ids[:, : self._count] - self._offsets).float(), part.numbers], dim=1),)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


def own_trainer(net: nn.Module, part: Part, rows: Tensor) -> Callable[[], None] | None:
    """The library's own loop over the given rows, batch 1,024, Adam. Building its data set is not in it."""
    x = [column[rows] for column in net.prepare(part)] if isinstance(net, Rechub | DeepCtr) else []
    if isinstance(net, Rechub):
        from torch_rechub.trainers import MTLTrainer
        from torch_rechub.utils.data import TorchDataset

        columns = {name: column.numpy() for name, column in net.columns(*x).items()}
        loader = DataLoader(TorchDataset(columns, part.y[rows].numpy()), batch_size=1024, shuffle=True)
        trainer = MTLTrainer(net.net, ["classification"] * len(TASKS), optimizer_params={"lr": 1e-3})
        return _quiet(lambda: trainer.train_one_epoch(loader))
    if isinstance(net, DeepCtr):
        net.net.compile("adam", loss=["binary_crossentropy"] * len(TASKS), metrics=[])
        inputs = [column[:, None].numpy() for column in x[0].unbind(1)]
        return _quiet(lambda: net.net.fit(inputs, part.y[rows].numpy(), batch_size=1024, epochs=1, verbose=0))
    return None


def _quiet(act: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            act()

    return run


def _offsets(census: Census) -> Tensor:
    sizes = torch.tensor(census.fields.sizes[: len(census.categories)])
    return sizes.cumsum(0) - sizes


def _without_network() -> None:
    """The module that asks PyPI is replaced before the package imports it: no thread, no call, no ``requests``."""
    quiet = ModuleType("deepctr_torch.utils")
    quiet.check_version = lambda version: None  # type: ignore[attr-defined]
    sys.modules.setdefault("deepctr_torch.utils", quiet)
