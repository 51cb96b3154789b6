"""All scenarios and seeds of a family, one after the other; what is there is not repeated, and time is bounded."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline_lib.errors import ObjectMissing
from pipeline_lib.settings.ablation import Family, Protocol, Scenario, policy_of
from pipeline_lib.settings.teacher import Teacher as Policy
from pipeline_lib.teacher.ablation.material import Bank
from pipeline_lib.teacher.ablation.record import Record, Results
from pipeline_lib.teacher.ablation.run import Stranger, identity, require_model, run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Campaign:
    """A family on a bank. ``smoke``: few rows, few epochs, no claim."""

    bank: Bank
    family: Family
    protocol: Protocol
    results: Results
    smoke: bool = False
    strangers: Mapping[str, Stranger] = field(default_factory=dict)

    def policy(self, scenario: Scenario, seed: int) -> Policy:
        """Effective policy: the teacher's, the protocol's, the family's, the scenario's, later ones on top."""
        layers = [self.protocol.overrides, self.family.overrides, scenario.overrides, {"seed": seed}]
        if self.smoke:
            epochs = self.protocol.smoke_epochs
            layers.append({"training": {"epochs": epochs, "min_steps": 1, "phase2": {"epochs": 1}}})
        where = f"ablation/{self.family.name}.yaml, scenario {scenario.name}"
        return policy_of(self.bank.settings.teacher, layers, where)

    def key(self, scenario: Scenario, seed: int) -> str:
        found = identity(scenario, self.policy(scenario, seed), self.protocol)
        return self.results.key(found, self.bank.fingerprint, seed)

    def seeds(self, scenario: Scenario) -> Sequence[int]:
        if self.smoke:
            return self.protocol.seeds[:1]
        return self.protocol.floor_seeds if scenario.name in self.protocol.floor else self.protocol.seeds

    def run(self, minutes: float, seeds: Sequence[int] | None = None, only: Sequence[str] = ()) -> int:
        """Do what is missing, seed by seed, so that whatever time allows is paired. Returns how many runs are missing.

        Args:
            minutes: no run is started later than this [min of wall time].
        """
        for scenario in self.family.scenarios:
            require_model(scenario, self.strangers)
        deadline, missing = time.monotonic() + 60 * minutes, 0
        for seed, scenario in self._wanted(seeds, only):
            if self.results.has(self.key(scenario, seed)):
                continue
            if time.monotonic() > deadline:
                missing += 1
                continue
            self._one(scenario, seed)
        return missing

    def found(self) -> dict[str, dict[int, Record]]:
        """Scenario -> seed -> record, of what is done."""
        return {s.name: {seed: r for seed, r in self._done(s)} for s in self.family.scenarios}

    def _wanted(self, seeds: Sequence[int] | None, only: Sequence[str]) -> Iterator[tuple[int, Scenario]]:
        chosen = [s for s in self.family.scenarios if not only or s.name in only]
        every = sorted({seed for s in chosen for seed in self.seeds(s)})
        for seed in every if seeds is None else seeds:
            yield from ((seed, s) for s in chosen if seeds is not None or seed in self.seeds(s))

    def _one(self, scenario: Scenario, seed: int) -> None:
        policy = self.policy(scenario, seed)
        record, customers, answers = run(
            self.bank, scenario, policy, self.protocol, self.results.objects, self.strangers
        )
        self.results.save(self.key(scenario, seed), record, customers, answers)
        log.info("%s %s seed %d: %.0f CPU-s", self.family.name, scenario.name, seed, record.cpu_seconds)

    def _done(self, scenario: Scenario) -> Iterator[tuple[int, Record]]:
        for seed in sorted({*self.protocol.seeds, *self.protocol.floor_seeds}):
            try:
                yield seed, self.results.record(self.key(scenario, seed))
            except ObjectMissing:
                continue
