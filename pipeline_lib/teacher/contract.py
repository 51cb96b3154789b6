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
MODES = ("journey", "lifecycle", "behavior")
RAW_BLOCK, MASK_BLOCK, HYPERBOLIC_BLOCK = "x_raw", "mask", "hyper_emb"
CLUSTER, HMM, AVAILABLE = "gmm_prob_", "hmm_", "avail_"
"""How columns and groups with a role of their own are named. Source: docs/artefacts.md."""
Range = tuple[int, int]


@dataclass(frozen=True)
class Group:
    """Columns [start, end) of x that belong together, and the experts that read them."""

    name: str
    start: int
    end: int
    block: str
    experts: tuple[str, ...]


@dataclass(frozen=True)
class Mode:
    """Where the states of one hidden Markov model lie in x; ``valid`` is the column of its mask, -1: always valid."""

    name: str
    start: int
    end: int
    valid: int


@dataclass(frozen=True)
class Item:
    """A node customers have edges to. Categories have a place in the tree; products have none (-1)."""

    name: str
    level1: int = -1
    level2: int = -1


@dataclass(frozen=True)
class Inputs:
    """What the model reads, as places in x and widths of the other tensors. Nothing here is fitted."""

    schema_hash: str
    columns: int
    groups: tuple[Group, ...]
    core: tuple[int, ...]
    clusters: Range
    """Columns of the soft cluster memberships; (0, 0) where there are none."""
    modes: tuple[Mode, ...]
    available: tuple[tuple[str, int], ...]
    """Expert -> column of x that is 0 where a row lacks its input."""
    channels: int
    max_steps: int
    items: tuple[Item, ...]
    bars: tuple[tuple[str, int, tuple[int, ...]], ...]
    """Persistence diagrams: window, most bars of a row, homology dimensions that occur."""

    @classmethod
    def from_schema(cls, schema: Mapping[str, Any], core_groups: Sequence[str], max_steps: int) -> Inputs:
        """From ``schema.json``: columns, groups, sequence, items and diagrams.

        Raises:
            SchemaError: the groups do not tile the columns, or hyperbolic ones are not declared as tangent vectors.
            SettingsError: a core group that no schema has.
        """
        every = [_group(g) for g in schema["groups"]]
        groups = tuple(g for g in every if g.end > g.start)
        _require_tiling(groups, len(schema["columns"]))
        _require_tangent(groups, schema.get("blocks", []))
        sequence = schema["sequence"]
        place = {str(column["name"]): i for i, column in enumerate(schema["columns"])}
        return cls(
            schema_hash=str(schema["schema_hash"]),
            columns=len(schema["columns"]),
            groups=groups,
            core=_core(groups, {g.name for g in every}, core_groups),
            clusters=_clusters(place),
            modes=_modes(groups, place),
            available=tuple((n.removeprefix(AVAILABLE), i) for n, i in place.items() if n.startswith(AVAILABLE)),
            channels=len(sequence["channels"]),
            max_steps=min(max_steps, int(sequence["max_len"])),
            items=tuple(_items(schema["items"])),
            bars=tuple(
                (str(window), int(found["max_bars"]), tuple(int(d) for d in found["dimensions"]))
                for window, found in sorted(schema.get("diagrams", {}).items(), reverse=True)
            ),
        )

    def reads(self, expert: str) -> tuple[Group, ...]:
        """Groups of an expert; all of them where the schema names no experts at all."""
        if not any(group.experts for group in self.groups):
            return tuple(group for group in self.groups if group.block != MASK_BLOCK)
        return tuple(group for group in self.groups if expert in group.experts)

    def columns_of(self, expert: str) -> tuple[int, ...]:
        return tuple(i for group in self.reads(expert) for i in range(group.start, group.end))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Inputs:
        return cls(
            **{
                **body,
                "groups": tuple(Group(**{**g, "experts": tuple(g["experts"])}) for g in body["groups"]),
                "core": tuple(body["core"]),
                "clusters": (body["clusters"][0], body["clusters"][1]),
                "modes": tuple(Mode(**m) for m in body["modes"]),
                "available": tuple((name, column) for name, column in body["available"]),
                "items": tuple(Item(**i) for i in body["items"]),
                "bars": tuple((window, most, tuple(dims)) for window, most, dims in body["bars"]),
            }
        )


@dataclass(frozen=True)
class TaskSpec:
    """One prediction task as the model sees it. ``mean`` and ``std`` standardise a regression label [label units].

    ``positives`` is the share of positives among the train labels of a binary task [0..1].
    """

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
    positives: float = 0.5

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


def _group(g: Mapping[str, Any]) -> Group:
    return Group(
        str(g["name"]), int(g["start"]), int(g["end"]), str(g.get("block", "x_norm")), tuple(g.get("experts", ()))
    )


def _core(groups: Sequence[Group], known: set[str], wanted: Sequence[str]) -> tuple[int, ...]:
    """Columns of the private experts: of the wanted groups that the source has, of all value groups where none is."""
    if unknown := sorted(set(wanted) - known):
        raise SettingsError(f"teacher.yaml: architecture.private.core_groups: {unknown} are no feature groups")
    values = [g for g in groups if g.block != MASK_BLOCK]
    chosen = [g for g in values if g.name in wanted] or values
    return tuple(i for g in chosen for i in range(g.start, g.end))


def _clusters(place: Mapping[str, int]) -> Range:
    at = sorted(i for name, i in place.items() if name.startswith(CLUSTER))
    if not at:
        return (0, 0)
    if at != list(range(at[0], at[-1] + 1)):
        raise SchemaError(f"schema.json: columns {CLUSTER}* do not lie together: {at}")
    return (at[0], at[-1] + 1)


def _modes(groups: Sequence[Group], place: Mapping[str, int]) -> tuple[Mode, ...]:
    found = {g.name.removeprefix(HMM): g for g in groups if g.name.startswith(HMM)}
    return tuple(Mode(m, found[m].start, found[m].end, place.get(f"valid_{HMM}{m}", -1)) for m in MODES if m in found)


def _items(items: Sequence[Mapping[str, Any]]) -> list[Item]:
    """Parents as numbers in order of appearance: the tree's shape, not its names."""
    first: dict[str, int] = {}
    second: dict[str, int] = {}
    found = []
    for item in items:
        if "l1" not in item:
            found.append(Item(str(item["name"])))
            continue
        one = first.setdefault(str(item["l1"]), len(first))
        two = second.setdefault(f"{item['l1']}/{item['l2']}", len(second))
        found.append(Item(str(item["name"]), one, two))
    return found


def _require_tiling(groups: Sequence[Group], columns: int) -> None:
    at = 0
    for group in groups:
        if group.start != at:
            raise SchemaError(f"schema.json: group {group.name} starts at column {group.start}, expected {at}")
        at = group.end
    if at != columns:
        raise SchemaError(f"schema.json: groups end at column {at}, but there are {columns} columns")


def _require_tangent(groups: Sequence[Group], blocks: Sequence[Mapping[str, Any]]) -> None:
    """A linear map may read tangent vectors, never coordinates of the ball."""
    space = next((block.get("hyper_space") for block in blocks if block["name"] == HYPERBOLIC_BLOCK), None)
    if space != "tangent" and any(group.block == HYPERBOLIC_BLOCK for group in groups):
        raise SchemaError(f"schema.json: block {HYPERBOLIC_BLOCK}: hyper_space is {space}, expected tangent")
