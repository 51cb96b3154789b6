"""Inputs and batches of the full bank's shape, without any file: what an expert meets."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import torch
import yaml

from pipeline_lib.settings import CONFIG
from pipeline_lib.settings.teacher import Architecture
from pipeline_lib.teacher.contract import Group, Inputs, Item
from pipeline_lib.teacher.frame import Bars, Batch

NAMES = ["deepfm", "lightgcn", "hgcn", "temporal", "perslay", "causal", "optimal_transport"]
WIDE = ("deepfm", "causal", "optimal_transport")
_STATE = [14, 10, 24, 40, 30, 20, 14, 22, 35, 31, 24, 28, 12, 16, 18, 10, 22, 20, 12, 10]
AVAILABLE = ("lightgcn", "hgcn", "temporal", "perslay")
CHANNELS, STEPS, PRODUCTS, CATEGORIES = 8, 60, 24, 60
BARS = {"long": 60, "short": 60}


def inputs_of(narrow: bool = False, bits: bool = True) -> Inputs:
    """About 575 columns like the demo bank's; ``narrow`` has few of each, for tests; ``bits`` of availability."""
    groups: list[Group] = []

    def add(name: str, width: int, block: str, *experts: str) -> None:
        start = groups[-1].end if groups else 0
        groups.append(Group(name, start, start + width, block, experts))

    for i, width in enumerate([3, 2, 4] if narrow else _STATE):
        add(f"state_{i}", width, "x_norm", *WIDE)
    add("tda_long", 24, "x_norm", "perslay")
    add("phase_transition", 10, "x_norm", "perslay")
    add("tda_short", 6 if narrow else 24, "x_norm", "perslay")
    add("graph_collaborative", 8 if narrow else 64, "collab_emb", "lightgcn")
    add("product_hierarchy", 5 if narrow else 34, "collab_emb", "lightgcn", "causal")
    add("hyperbolic_embedding", 20, "hyper_emb", "hgcn")
    add("merchant_hierarchy", 5 if narrow else 27, "hyper_emb", "hgcn")
    add("log_copies", 4 if narrow else 22, "x_raw")
    add("availability", len(AVAILABLE), "mask")
    first = groups[-1].start
    products = tuple(Item(f"product_{i}") for i in range(PRODUCTS))
    categories = tuple(Item(f"category_{i}", i % 8, i % 24) for i in range(CATEGORIES))
    return Inputs(
        schema_hash="a" * 64,
        columns=groups[-1].end,
        groups=tuple(groups),
        core=tuple(range(20)),
        clusters=(0, 0),
        modes=(),
        available=tuple((name, first + i) for i, name in enumerate(AVAILABLE)) if bits else (),
        channels=CHANNELS,
        max_steps=STEPS,
        items=products + categories,
        bars=tuple((window, most, (0, 1)) for window, most in BARS.items()),
    )


def batch_of(inputs: Inputs, rows: int, seed: int = 0) -> Batch:
    """Every third row lacks diagrams, every fourth a sequence, and the bits say all is there."""
    g = torch.Generator().manual_seed(seed)
    length = torch.randint(1, STEPS + 1, (rows,), generator=g)
    length[0], length[3::4] = STEPS, 0
    valid = (torch.arange(STEPS) < length[:, None]).float()  # (B, L)
    x = torch.randn(rows, inputs.columns, generator=g)
    for _, at in inputs.available:
        x[:, at] = 1.0
    return Batch(
        x=x,
        steps=torch.randn(rows, STEPS, CHANNELS, generator=g) * valid[..., None],
        days=torch.rand(rows, STEPS, generator=g) * 5 * valid,
        length=length,
        gap=torch.rand(rows, generator=g) * 20,
        edges=(torch.rand(rows, len(inputs.items), generator=g) < 0.2).float(),
        bars={window: bars_of(rows, most, g) for window, most, _ in inputs.bars},
    )


def bars_of(rows: int, most: int, g: torch.Generator) -> Bars:
    count = torch.randint(1, most + 1, (rows,), generator=g)
    count[2::3] = 0
    dimension = (torch.rand(rows, most, generator=g) < 0.3).float()
    birth = torch.rand(rows, most, generator=g) * dimension  # parts are born at 0
    points = torch.stack([birth, birth + torch.rand(rows, most, generator=g), dimension], dim=-1)
    valid = torch.arange(most) < count[:, None]
    return Bars(points * valid[..., None], count)


@cache
def shipped() -> Architecture:
    return Architecture.model_validate(yaml.safe_load((CONFIG / "teacher.yaml").read_text())["architecture"])


def architecture(**changes: dict[str, Any]) -> Architecture:
    """The shipped widths, with changed options of single experts."""
    base = shipped()
    return base.model_copy(update={name: getattr(base, name).model_copy(update=new) for name, new in changes.items()})


def rows_of(batch: Batch, at: torch.Tensor) -> Batch:
    bars = {window: Bars(found.points[at], found.count[at]) for window, found in batch.bars.items()}
    own = {name: getattr(batch, name)[at] for name in batch.__dataclass_fields__ if name != "bars"}
    return replace(batch, **own, bars=bars)
