"""What the model is built for: its inputs and its tasks, as plain values that a checkpoint can hold.

The schema of the features stage names groups and columns; the model keeps only ranges and counts and the schema's
hash, and refuses data of another schema. Source: teacher.md sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline_lib.errors import SchemaError, SettingsError
from pipeline_lib.settings.tasks import Tasks

CORE = "core"


@dataclass(frozen=True)
class Inputs:
    """Widths of the model's inputs. ``fields`` are column ranges [start, end) of x, one per feature group."""

    schema_hash: str
    columns: int
    fields: tuple[tuple[str, int, int], ...]
    core: tuple[int, ...]
    channels: int
    max_steps: int
    items: int

    @classmethod
    def from_schema(cls, schema: Mapping[str, Any], core_groups: Sequence[str], max_steps: int) -> Inputs:
        """Raises SchemaError when the groups do not tile the columns, SettingsError for an unknown core group."""
        fields = tuple(
            (str(g["name"]), int(g["start"]), int(g["end"])) for g in schema["groups"] if g["end"] > g["start"]
        )
        columns = len(schema["columns"])
        _require_tiling(fields, columns)
        named = {name for name, _, _ in fields}
        if unknown := sorted(set(core_groups) - {str(g["name"]) for g in schema["groups"]}):
            raise SettingsError(f"teacher.yaml: architecture.private.core_groups: {unknown} are no feature groups")
        marked = {str(g["name"]) for g in schema["groups"] if CORE in g.get("experts", ())}
        chosen = (set(core_groups) or marked or named) & named
        core = tuple(i for name, start, end in fields if name in chosen for i in range(start, end))
        sequence = schema["sequence"]
        steps = min(max_steps, int(sequence["max_len"]))
        return cls(
            str(schema["schema_hash"]), columns, fields, core, len(sequence["channels"]), steps, len(schema["items"])
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Inputs:
        fields = tuple((name, start, end) for name, start, end in body["fields"])
        return cls(**{**body, "fields": fields, "core": tuple(body["core"])})


@dataclass(frozen=True)
class TaskSpec:
    """One prediction task as the model sees it. ``mean`` and ``std`` standardise a regression label [label units]."""

    name: str
    kind: str
    group: str
    out: int
    weight: float
    focal_alpha: float | None
    classes: tuple[str, ...] = ()
    class_weights: tuple[float, ...] = ()
    mean: float = 0.0
    std: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> TaskSpec:
        lists = {"classes": tuple(body["classes"]), "class_weights": tuple(body["class_weights"])}
        return cls(**{**body, **lists})


def active_tasks(facts: Mapping[str, Any], policy: Tasks) -> list[TaskSpec]:
    """Tasks that the labels stage found alive, in catalogue order; statistics of the labels come later.

    Raises:
        SettingsError: the labels name a task that the catalogue does not have, or none is active.
    """
    if unknown := sorted(facts.keys() - policy.tasks.keys()):
        raise SettingsError(f"labels name tasks {unknown} that tasks.yaml does not have")
    alive = [name for name in policy.tasks if facts.get(name, {}).get("status") == "active"]
    if not alive:
        raise SettingsError("no task is active: there is nothing to train")
    return [_task(name, facts[name], policy) for name in alive]


def _task(name: str, fact: Mapping[str, Any], policy: Tasks) -> TaskSpec:
    task = policy.tasks[name]
    classes = tuple(str(c) for c in fact.get("classes") or ()) if task.kind == "multiclass" else ()
    if task.kind == "multiclass" and len(classes) < 2:
        raise SchemaError(f"labels: task {name} is multiclass with classes {list(classes)}, expected two or more")
    return TaskSpec(name, task.kind, task.group, len(classes) or 1, task.weight, task.focal_alpha, classes)


def _require_tiling(fields: Sequence[tuple[str, int, int]], columns: int) -> None:
    at = 0
    for name, start, end in fields:
        if start != at:
            raise SchemaError(f"schema.json: group {name} starts at column {start}, expected {at}")
        at = end
    if at != columns:
        raise SchemaError(f"schema.json: groups end at column {at}, but there are {columns} columns")
