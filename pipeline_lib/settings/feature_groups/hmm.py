"""Policy of the hidden Markov groups: the prior meaning of their states, and how far data may move it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from pipeline_lib.settings.base import Section

Probability = Annotated[float, Field(gt=0, lt=1)]
TOLERANCE = 1e-9


class HmmMode(Section):
    """One model. A state is what its prior mean says; the order of the states is the order of the columns."""

    states: list[str] = Field(min_length=2)
    """Names in lower case, part of the columns' names."""
    start: list[Probability]
    """Law of the first step [N]."""
    transition: list[list[Probability]]
    """Row i: where state i goes in one step [N, N]."""
    means: list[list[float]]
    """Prior mean of each state, one value per observation in the mode's order [N, C] [z units]."""

    @model_validator(mode="after")
    def _square_and_stochastic(self) -> HmmMode:
        n = len(self.states)
        sizes = {"start": len(self.start), "transition": len(self.transition), "means": len(self.means)}
        if wrong := {name: size for name, size in sizes.items() if size != n}:
            raise ValueError(f"{n} states {self.states}, but {wrong} rows")
        for name, row in zip(["start", *self.states], [self.start, *self.transition], strict=True):
            if len(row) != n or abs(sum(row) - 1) > TOLERANCE:
                raise ValueError(f"{name}: {row} must be {n} probabilities with sum 1, found {sum(row)}")
        if len({len(row) for row in self.means}) != 1:
            raise ValueError(f"means of different length: {[len(row) for row in self.means]}")
        return self


class Hmm(Section):
    weeks: int = Field(ge=3, le=26)
    """Steps of the journey [weeks]; the monthly modes have ``history_months`` steps."""
    min_steps: int = Field(ge=3)
    """A shorter sequence has no values; the second difference of a path needs 3."""
    max_iterations: int = Field(ge=1)
    """Of expectation-maximisation."""
    tolerance: float = Field(gt=0)
    """Change of the log-likelihood per sequence below which EM ends [nats]."""
    variance_floor: float = Field(gt=0)
    """Smallest variance of an observation in a state [z units squared]."""
    transition_pull: float = Field(ge=0)
    """Prior transitions out of every state, and prior starts [pseudo-counts]."""
    mean_pull: float = Field(ge=0)
    """Prior observations at the prior mean of every state [pseudo-counts]."""
    lost_distance: float = Field(gt=0)
    """Distance of a fitted mean from its prior above which the state has lost its meaning [z units]."""
    journey: HmmMode
    lifecycle: HmmMode
    behavior: HmmMode
