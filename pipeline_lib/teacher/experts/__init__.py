"""The named experts: one file each, found by name.

A file ``<name>.py`` defines

    lacks(inputs, options) -> str | None      why a source cannot feed the expert
    columns(inputs) -> (int, ...)             the columns of x that it reads
    build(inputs, options) -> Expert          the only place where settings are unpacked

where ``options`` is the section of that name under ``architecture``. Which experts are active is policy
(``teacher.yaml: experts``); their names travel with the gate tensors. With ``architecture.twin`` every expert is
replaced by a plain network of its size (``twin.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from torch import nn

from pipeline_lib.settings.teacher import Architecture
from pipeline_lib.teacher.contract import Inputs
from pipeline_lib.teacher.experts.base import Expert
from pipeline_lib.teacher.experts.twin import twin_of

__all__ = ["Expert", "build_experts", "unfed"]


def unfed(names: Sequence[str], inputs: Inputs, architecture: Architecture) -> dict[str, str]:
    """Expert -> why the source cannot feed it."""
    found = {name: _module(name).lacks(inputs, getattr(architecture, name)) for name in names}
    return {name: why for name, why in found.items() if why}


def build_experts(names: Sequence[str], inputs: Inputs, architecture: Architecture) -> nn.ModuleDict:
    """Name -> expert, in the given order."""
    return nn.ModuleDict({name: _build(name, inputs, architecture) for name in names})


def _build(name: str, inputs: Inputs, architecture: Architecture) -> Expert:
    module, options = _module(name), getattr(architecture, name)
    expert: Expert = module.build(inputs, options)
    expert.bit = dict(inputs.available).get(name)
    if architecture.twin:
        return twin_of(name, expert, inputs, module.columns(inputs), options.dropout)
    return expert


def _module(name: str) -> Any:
    return import_module(f"pipeline_lib.teacher.experts.{name}")
