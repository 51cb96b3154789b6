"""Policy of the ablation study: ``config/ablation/protocol.yaml`` and one file per family beside it.

A family asks one question and lists scenarios; a scenario is the teacher's own policy with overrides, or another
model on the same rows. Source: teacher.md section 19.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from pipeline_lib import settings as files
from pipeline_lib.errors import SettingsError
from pipeline_lib.settings.base import Section
from pipeline_lib.settings.teacher import Teacher

ModelName = Literal["teacher", "shared_bottom", "mmoe", "ple_classic", "raw", "lightgbm"]


class Scenario(Section):
    name: str = Field(pattern=r"^[a-z0-9_]+$")
    title: str
    """What a reader of the report sees."""
    model: ModelName = "teacher"
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Of the teacher section, on top of the family's."""
    tasks: list[str] = Field(default_factory=list)
    """Only these; empty: all that are active."""
    plant: list[str] = Field(default_factory=list)
    """Tasks whose labels are put among the inputs on purpose: what a leak would do."""
    shuffle: bool = False
    """Labels permuted over the rows that are not judged."""
    against: str | None = None
    """Scenario it is compared with; the family's reference when left out."""


class Family(Section):
    """``name`` is the file's name."""

    name: str
    title: str
    question: str
    reference: str
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Of the teacher section, for every scenario: the size that fits."""
    scenarios: list[Scenario] = Field(min_length=1)

    @model_validator(mode="after")
    def _named(self) -> Family:
        names = [scenario.name for scenario in self.scenarios]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"scenarios {twice} are written twice")
        wanted = {self.reference, *(s.against for s in self.scenarios if s.against)}
        if unknown := sorted(wanted - set(names)):
            raise ValueError(f"compared with {unknown}, which are no scenarios; known: {names}")
        return self

    def against(self, scenario: Scenario) -> str:
        return scenario.against or self.reference


class Trunk(Section):
    """Widths of the classical models. Source: teacher.md 19, family B."""

    hidden: list[int] = Field(min_length=1)
    tower: list[int] = Field(min_length=1)
    dropout: float = Field(ge=0, lt=1)
    experts: int = Field(ge=1)
    """Experts of MMoE; experts of each stream of the classical PLE."""


class Protocol(Section):
    """What every family shares."""

    seeds: list[int] = Field(min_length=1)
    floor_seeds: list[int] = Field(min_length=2)
    """Seeds of the scenarios that set the noise floor."""
    floor: list[str]
    """Scenarios whose spread over seeds is the noise floor, the largest of them."""
    judged: list[str] = Field(min_length=1)
    """Parts on which scenarios are compared; none of them trains, selects or calibrates."""
    also: list[list[str]]
    """Further sets of parts that are scored and shown."""
    overrides: dict[str, Any]
    """Of the teacher section, for every scenario of every family: fair budgets."""
    trunk: Trunk
    resamples: int = Field(ge=100)
    """Bootstrap resamples of customers."""
    level: float = Field(gt=0, lt=1)
    """Of the confidence intervals."""
    floor_factor: float = Field(ge=0)
    """An effect counts only above so many standard deviations of the floor."""
    stationary: float = Field(gt=0)
    """|s - ln L| that a loss weight may miss its stationary point by at the end of phase 1. Source: teacher.md 11."""
    least_std: float = Field(gt=0)
    """Answers of a task that vary less mean that the model has degenerated."""
    smoke_rows: int = Field(ge=1)
    smoke_epochs: int = Field(ge=1)
    shared_task: str
    """Left out of the second headline average. Source: teacher.md 2.1."""
    segment_f1: float = Field(gt=0, le=1)
    """Macro-F1 of a model that predicts the segment from the inputs; above it a descendant is among them."""
    not_run: dict[str, str]
    """Families of the specification that are listed and not run -> why."""

    @model_validator(mode="after")
    def _held_out(self) -> Protocol:
        if used := sorted({"fit", "stop", "calib"} & set(self.judged)):
            raise ValueError(f"judged: {used} train, select or calibrate")
        return self


def load_protocol() -> Protocol:
    """Raises SettingsError, naming file and key."""
    file = "ablation/protocol.yaml"
    return files._checked(Protocol, files._read(files.CONFIG / file), file)


def load_family(name: str) -> Family:
    """Raises SettingsError: no such family, or naming file and key."""
    if name not in family_names():
        raise SettingsError(f"no family named {name!r}; config/ablation has {', '.join(family_names())}")
    file = f"ablation/{name}.yaml"
    return files._checked(Family, {**files._read(files.CONFIG / file), "name": name}, file)


def family_names() -> list[str]:
    found = sorted(path.stem for path in (files.CONFIG / "ablation").glob("*.yaml"))
    return [name for name in found if name != "protocol"]


def policy_of(base: Teacher, layers: list[dict[str, Any]], where: str) -> Teacher:
    """The teacher's section with overrides, later layers on top.

    Raises:
        SettingsError: an override names no key, or a wrong value.
    """
    body: dict[str, Any] = base.model_dump(mode="json")
    for layer in layers:
        body = files._merged(body, layer)
    return files._checked(Teacher, body, where)
