"""Which columns a student sees: the candidates of the schema, three-stage selection, segments.

Only groups offered to students (``distil``) that the source has (``available``) are candidates. Selection: by
the probe's gain, then zero-gain columns go, then mandatory ones come back. Source: distillation.md section 8.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.distill.metrics import Reals
from pipeline_lib.errors import SettingsError
from pipeline_lib.settings.distillation import SchemaColumn, Segment

WHERE = "distillation.yaml"


@dataclass(frozen=True)
class Selection:
    columns: tuple[str, ...]
    """In schema order: exactly the booster's feature names."""
    share: float
    """Share of the probe's gain the columns carry."""
    mandatory_absent: Mapping[str, str]
    """Concept -> why its column is not there."""


def candidates(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """Columns of the groups that are offered to students, in schema order."""
    offered = {group["name"] for group in schema["groups"] if group["distil"] and group["available"]}
    return tuple(column["name"] for column in schema["columns"] if column["group"] in offered)


def resolve(
    wanted: Mapping[str, SchemaColumn], offered: Sequence[str], schema: Mapping[str, Any], key: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Find configured columns in the schema: (what -> column, what -> why it is absent).

    A source is excused from a column that the feature stage dropped, or whose whole group is not available.

    Raises:
        SettingsError: a column is not there although the source could have it.
    """
    dropped = {column["name"]: column["why"] for column in schema["dropped"]}
    groups = {group["name"]: group for group in schema["groups"]}
    found: dict[str, str] = {}
    absent: dict[str, str] = {}
    for name, at in wanted.items():
        if at.column in offered:
            found[name] = at.column
        elif at.column in dropped:
            absent[name] = f"column {at.column} was dropped: {dropped[at.column]}"
        elif at.group in groups and not groups[at.group]["available"]:
            absent[name] = f"group {at.group} is not available: {groups[at.group].get('why') or 'no reason given'}"
        else:
            known = "is not offered to students or lacks it" if at.group in groups else "is not in the schema"
            raise SettingsError(f"{WHERE}: {key}.{name}: no column {at.column}; group {at.group} {known}")
    return found, absent


def select(
    gains: Mapping[str, float], *, cumulative: float, least: int, most: int, mandatory: Mapping[str, str]
) -> tuple[str, ...]:
    """Columns to keep, in the order of ``gains`` (the schema's).

    Args:
        gains: column -> total gain in the probe; ties break by name.
        cumulative: share of all gain the kept prefix reaches [0..1].
        least, most: bounds of the number kept, before the mandatory ones.
        mandatory: concept -> column.
    """
    ranked = sorted(gains, key=lambda name: (-gains[name], name))
    running = np.cumsum([gains[name] for name in ranked])
    prefix = int(np.searchsorted(running, cumulative * running[-1], side="left")) + 1
    kept = ranked[: max(least, min(prefix, most))]
    useful = [name for name in kept if gains[name] > 0]
    keep = {*(useful if len(useful) >= least else kept[:least]), *mandatory.values()}
    return tuple(name for name in gains if name in keep)


def segment_masks(segments: Mapping[str, Segment], values: Mapping[str, Reals]) -> dict[str, NDArray[np.bool_]]:
    """``age[35,55)`` -> rows of that segment; a row whose value is NaN is in none.

    Args:
        values: segment name -> raw values (n,) of its column; segments the source lacks are left out.
    """
    masks: dict[str, NDArray[np.bool_]] = {}
    for name, value in values.items():
        bounds = [-np.inf, *segments[name].edges, np.inf]
        for low, high in itertools.pairwise(bounds):
            masks[f"{name}[{low:g},{high:g})"] = (value >= low) & (value < high)
    return masks
