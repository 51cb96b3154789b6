"""What other stages found out about this challenger, for the verdict and the human: drift, logged traffic.

Advice is read from finished stages. A stage that did not run, or ran for another package or other scores, has said
nothing about this challenger: that is written as unknown, never as good news.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline_lib.runs import RunContext, StageOutput

DRIFT, COUNTERFACTUAL = "drift", "counterfactual"
ABOUT = ("package", "score")
"""Stages that advice is about; advice made from another version of them is of something else."""


@dataclass(frozen=True)
class Advice:
    drift: Mapping[str, Any] | None
    """Challenger against champion and anchor; None when nobody looked."""
    counterfactual: Mapping[str, Any] | None
    """What logged traffic says; None when nobody looked."""
    mode: Literal["off", "advisory", "veto"]
    """What the gate does with the latter."""
    sources: tuple[StageOutput, ...]

    def drift_column(self) -> dict[str, Any]:
        return dict(self.drift) if self.drift is not None else {"why": "no drift was measured for this challenger"}

    def counterfactual_column(self) -> dict[str, Any]:
        if self.mode == "off":
            return {"mode": "off", "verdict": "NOT_ASKED", "reason": "promotion.counterfactual.mode is off"}
        unknown = {"verdict": "UNAVAILABLE", "reason": "the comparison did not run for this challenger"}
        return {"mode": self.mode, **(self.counterfactual or unknown)}


def collect(ctx: RunContext) -> Advice:
    """The advice of this run's finished stages."""
    found = {stage: output for stage in (DRIFT, COUNTERFACTUAL) if (output := _current(ctx, stage))}
    said = {stage: output.facts["summary"] for stage, output in found.items()}
    mode = ctx.settings.promotion.counterfactual.mode
    return Advice(said.get(DRIFT), said.get(COUNTERFACTUAL), mode, tuple(found.values()))


def _current(ctx: RunContext, stage: str) -> StageOutput | None:
    if not ctx.has(stage):
        return None
    output = ctx.read(stage)
    made_from = {name: output.manifest.inputs[name] for name in ABOUT if name in output.manifest.inputs}
    same = all(ctx.read(name).content_hash == content for name, content in made_from.items())
    return output if same and _about(output.facts["summary"], ctx) else None


def _about(summary: Mapping[str, Any], ctx: RunContext) -> bool:
    """Whether the versions that advice names, if it names any, are those that are compared."""
    named = summary.get("versions") or summary
    compared = {"challenger": ctx.read("package").facts["version"], "champion": ctx.read("score").facts["champion"]}
    return all(named[role] == version for role, version in compared.items() if isinstance(named.get(role), str))
