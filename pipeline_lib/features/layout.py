"""Which columns a run has: what the groups declare, less what the source cannot give and what train could not teach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline_lib.features.columns import Column, split_available
from pipeline_lib.features.generator import Arrays, Generator
from pipeline_lib.features.groups import Plan

NOTHING = "the source has nothing that the group could be made of"


@dataclass(frozen=True)
class Settled:
    """The columns of one group, and those it lost with the reason."""

    kept: tuple[Column, ...]
    lost: tuple[tuple[Column, str], ...]

    @property
    def why(self) -> str:
        """Why the group has no column; empty when it has one."""
        return "" if self.kept else "; ".join(sorted({why for _, why in self.lost})) or NOTHING


@dataclass(frozen=True)
class Layout:
    groups: dict[str, Settled]
    """In schema order."""

    @property
    def columns(self) -> list[tuple[str, Column]]:
        """(group, column) in schema order."""
        return [(name, column) for name, settled in self.groups.items() for column in settled.kept]

    @property
    def dropped(self) -> list[tuple[str, Column, str]]:
        """(group, column, why) of what the source cannot give; a log copy goes with its column without a word."""
        lost = [(name, column, why) for name, settled in self.groups.items() for column, why in settled.lost]
        return [one for one in lost if one[1].kind != "log"]


def settle(
    generator: Generator,
    absent: Mapping[str, str],
    learnt: Arrays,
    refused: str | None,
    ancestors: Mapping[str, Column],
) -> Settled:
    """The columns of a group once it is fitted.

    Args:
        absent: input -> why the source lacks it.
        refused: why its fit could not be done (``GroupUnavailable``).
        ancestors: available columns of the groups it reads, by name.
    """
    kept, lost = split_available(generator.columns, absent)
    if refused is not None:
        return Settled((), (*lost, *((column, refused) for column in kept)))
    if kept and generator.columns_of is not None:
        gone = {column.name for column, _ in lost}
        final = [column for column in generator.columns_of(learnt, ancestors) if column.name not in gone]
        kept, more = split_available(final, absent)
        lost += more
    return Settled(tuple(kept), tuple(lost))


def lay_out(plan: Plan, arrays: Mapping[str, Arrays], refused: Mapping[str, str], absent: Mapping[str, str]) -> Layout:
    """The same for all groups of a plan."""
    found: dict[str, Settled] = {}
    for name in plan.order:
        generator = plan.generators[name]
        found[name] = settle(
            generator, absent, arrays.get(name, {}), refused.get(name), columns_of_groups(found, generator.after)
        )
    return Layout({name: found[name] for name in plan.generators})


def columns_of_groups(found: Mapping[str, Settled], names: tuple[str, ...]) -> dict[str, Column]:
    return {column.name: column for name in names if name in found for column in found[name].kept}
