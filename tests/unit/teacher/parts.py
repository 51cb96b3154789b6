"""Small parts for the tests of losses, weightings and steps."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hypothesis import settings

import pipeline_lib
from pipeline_lib.teacher.contract import TaskSpec

MANY = settings(max_examples=50, deadline=None)
"""For property tests: nothing is timed, the first example may load half of torch."""
KINDS = ("binary", "multiclass", "regression")


def shipped(section: str) -> dict[str, Any]:
    """A section of the shipped ``teacher.yaml``, as a dictionary to change."""
    return deepcopy(_teacher()[section])


@cache
def _teacher() -> dict[str, Any]:
    body: dict[str, Any] = yaml.safe_load((Path(pipeline_lib.__file__).parent / "config" / "teacher.yaml").read_text())
    return body


def task(name: str, kind: str = "binary", group: str = "g", weight: float = 1.0) -> TaskSpec:
    classes = 3 if kind == "multiclass" else 1
    return TaskSpec(
        name, kind, group, classes, weight, 0.85 if kind == "binary" else None, class_weights=(1.0,) * classes
    )
