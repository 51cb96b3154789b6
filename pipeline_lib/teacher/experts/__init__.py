"""The named experts: one file each, found by name.

A file ``<name>.py`` defines ``build(inputs, options) -> Expert``, where ``options`` is the section of that name
under ``architecture``; it is the only place where settings are unpacked. Which experts are active is policy
(``teacher.yaml: experts``); their names travel with the gate tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from torch import nn

from pipeline_lib.settings.teacher import Architecture
from pipeline_lib.teacher.contract import Inputs
from pipeline_lib.teacher.experts.base import Expert

__all__ = ["Expert", "build_experts"]


def build_experts(names: Sequence[str], inputs: Inputs, architecture: Architecture) -> nn.ModuleDict:
    """Name -> expert, in the given order."""
    built = {}
    for name in names:
        module = import_module(f"pipeline_lib.teacher.experts.{name}")
        built[name] = module.build(inputs, getattr(architecture, name))
    return nn.ModuleDict(built)
