"""A small study on the fabricated bank: one family, few rows, in seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.runs import RunContext
from pipeline_lib.settings.ablation import Family, load_protocol
from pipeline_lib.teacher.ablation.campaign import Campaign
from pipeline_lib.teacher.ablation.material import Bank
from pipeline_lib.teacher.ablation.record import Results

QUICK = {"experts": ["deepfm", "causal"], "training": {"epochs": 2, "min_steps": 1, "phase2": {"epochs": 1}}}


def bank_of(ctx: RunContext, rows: int | None = None) -> Bank:
    return Bank(ctx.read("features"), ctx.read("labels"), ctx.settings, rows)


def family_of(*scenarios: Mapping[str, Any], overrides: Mapping[str, Any] = QUICK) -> Family:
    body = [{"title": s["name"], **s} for s in scenarios]
    names = {"name": "tried", "title": "tried", "question": "?", "reference": body[0]["name"]}
    return Family.model_validate({**names, "overrides": dict(overrides), "scenarios": body})


@pytest.fixture
def study(make_context: Callable[..., RunContext], tmp_path: Path) -> Callable[..., Campaign]:
    """``study({"name": "full"}, ..., rows=300, seeds=[1, 2])``: a campaign over a fresh bank."""

    def make(
        *scenarios: Mapping[str, Any], rows: int = 300, seeds: tuple[int, ...] = (1, 2), **changes: Any
    ) -> Campaign:
        family = family_of(*scenarios, overrides=changes.pop("overrides", QUICK))
        update = {"seeds": list(seeds), "floor_seeds": list(seeds), "resamples": 100, **changes}
        protocol = load_protocol().model_copy(update=update)
        return Campaign(bank_of(make_context(rows=rows)), family, protocol, Results(tmp_path / "results"))

    return make
