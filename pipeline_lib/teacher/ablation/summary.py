"""Everything a report says about a family, from its results: checks, values, effects. No drawing here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline_lib.settings.ablation import Family, Protocol
from pipeline_lib.teacher.ablation.campaign import Campaign
from pipeline_lib.teacher.ablation.effects import Customers, Effect, Measured, effect, judge
from pipeline_lib.teacher.ablation.record import Record
from pipeline_lib.teacher.ablation.sanity import Check, checklist, passed, stopped

HEADLINES = ("composite", "avg_auc", "avg_ndcg", "avg_skill", "avg_f1", "avg_f1_rest")
NOT_CONCLUDED = "not concluded"
_SEED = 2026


@dataclass(frozen=True)
class Summary:
    """``effects`` of every scenario but the reference, each against what it names, metric by metric."""

    family: Family
    protocol: Protocol
    records: Mapping[str, Mapping[int, Record]]
    measured: Mapping[str, Measured]
    effects: Sequence[Effect]
    floors: Mapping[str, float | None]
    checks: Sequence[Check]
    ranked: Sequence[str]
    """Tasks whose headline is NDCG."""

    @property
    def sound(self) -> bool:
        """Whether every check passed."""
        return passed(self.checks)

    @property
    def silent(self) -> bool:
        """Whether nothing at all may be concluded."""
        return all(e.verdict == NOT_CONCLUDED for e in self.effects)

    def of(self, metric: str) -> list[Effect]:
        return [e for e in self.effects if e.metric == metric]

    def mean(self, scenario: str, metric: str) -> float:
        return float(np.mean([values[metric] for values in self.measured[scenario].point.values()]))

    @property
    def tasks(self) -> list[str]:
        """Tasks that all scenarios were judged on."""
        known = [set(v) for m in self.measured.values() for v in m.point.values()]
        common = set.intersection(*known) if known else set()
        first = next(iter(next(iter(self.measured.values())).point.values()))
        return [name for name in first if name.startswith("task:") and name in common]


def summarise(campaign: Campaign) -> Summary:
    """Of the runs that are there; scenarios without any are left out and fail the first check."""
    family, protocol = campaign.family, campaign.protocol
    records = campaign.found()
    there = {name: runs for name, runs in records.items() if runs}
    customers = Customers(protocol.resamples, _SEED)
    measured = {}
    for scenario in family.scenarios:
        point, resampled = {}, {}
        for seed in there.get(scenario.name, {}):
            owners, answers = campaign.results.answers(campaign.key(scenario, seed))
            point[seed], resampled[seed] = customers.measure(owners, answers, protocol.shared_task)
        if point:
            measured[scenario.name] = Measured(point, resampled)
    floors = _floors(measured, family, protocol)
    checks = checklist(records, family, protocol)
    effects = [
        replace(e, verdict=NOT_CONCLUDED) if stopped(checks, e.scenario, e.against) else e
        for e in judge(_effects(measured, family, protocol), floors, protocol.level, protocol.floor_factor)
    ]
    ranked = campaign.bank.settings.teacher.selection.ndcg_tasks
    return Summary(family, protocol, there, measured, effects, floors, checks, ranked)


def _effects(measured: Mapping[str, Measured], family: Family, protocol: Protocol) -> list[Effect]:
    found = []
    for scenario in family.scenarios:
        against = family.against(scenario)
        if scenario.name == against or not {scenario.name, against} <= measured.keys():
            continue
        mine, other = measured[scenario.name], measured[against]
        if not set(mine.point) & set(other.point):
            continue
        rng = np.random.default_rng(_SEED)  # the same seeds are drawn for every pair
        found += [
            effect(scenario.name, mine, against, other, metric, protocol.level, rng) for metric in _common(mine, other)
        ]
    return found


def _floors(measured: Mapping[str, Measured], family: Family, protocol: Protocol) -> dict[str, float | None]:
    """Metric -> the largest spread over seeds among the scenarios that set the floor, else that of the reference."""
    names = [name for name in protocol.floor if name in measured] or [family.reference]
    metrics = {m for found in measured.values() for values in found.point.values() for m in values}
    floors: dict[str, float | None] = {}
    for metric in metrics:
        spreads = [
            spread
            for name in names
            if name in measured and all(metric in v for v in measured[name].point.values())
            and (spread := measured[name].spread(metric)) is not None
        ]  # fmt: skip
        floors[metric] = max(spreads) if spreads else None
    return floors


def _common(a: Measured, b: Measured) -> list[str]:
    first, second = next(iter(a.point.values())), next(iter(b.point.values()))
    return [metric for metric in first if metric in second]
