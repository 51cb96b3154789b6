"""A law of two models at the gate, from which any number of weeks can be drawn and judged.

Customers have one latent taste and one of each task; labels follow it with noise. Both models see the same features,
hence share most of their error; each adds an error of its own, some of it common to its tasks. With ``lift`` 0 the
two are exchangeable: nothing distinguishes challenger and champion but chance. Rows of one customer are nearly copies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline_lib.gate.compare import Competition
from pipeline_lib.gate.evidence import Tables
from pipeline_lib.gate.limits import Limits
from pipeline_lib.gate.measure import TaskShape
from pipeline_lib.gate.metrics import Floats
from pipeline_lib.gate.sets import TaskSets
from pipeline_lib.gate.trial import judge

RATES = (0.05, 0.10, 0.10, 0.15, 0.20, 0.30, 0.30)
"""Shares of positives of the seven binary tasks."""
CLASSES = (4, 7, 50)
REGRESSIONS = 3
SHARED, OWN = 1.3, 0.6
"""Standard deviations of the models' common and own errors, that of the taste being 1: AUC is about 0.70."""
TASTE, COMMON = 0.7, 0.8
"""How much of a customer's task is their taste, and of a model's own error the same in every task."""
ALIKE = 0.95
"""Correlation of two rows of one customer."""

SHAPES: dict[str, TaskShape] = {
    **{f"binary_{i}": TaskShape("binary", 0) for i in range(len(RATES))},
    **{f"classes_{k}": TaskShape("multiclass", k) for k in CLASSES},
    **{f"value_{i}": TaskShape("regression", 0) for i in range(REGRESSIONS)},
}


@dataclass(frozen=True)
class Law:
    rows: int
    per_customer: int = 1
    """Rows of each customer; the gate's bundle has one."""
    lift: float = 0.0
    """Share of its own error that the challenger does not make."""
    tasks: tuple[str, ...] = tuple(SHAPES)


def draw(law: Law, random: np.random.Generator) -> Tables:
    """One week: labels and the outputs of both models."""
    return _Week(law, random).tables()


def verdict(tables: Tables, law: Law, limits: Limits) -> Competition:
    """What the gate's own competition says about it."""
    nothing: Mapping[str, tuple[str, ...]] = dict.fromkeys(
        ("missing", "extra", "coverage_gain", "coverage_regression", "contract_changed", "by_rules", "unpowered"), ()
    )
    return judge(tables, TaskSets(expected=law.tasks, compared=law.tasks, **nothing), SHAPES, limits)


class _Week:
    def __init__(self, law: Law, random: np.random.Generator) -> None:
        self.law, self.random = law, random
        self.customers = law.rows // law.per_customer
        self.taste = self._noise()
        self.of_model = [self._noise(), self._noise()]
        """What each model gets wrong about a customer in every task."""

    def tables(self) -> Tables:
        labels: dict[str, Floats] = {}
        outputs: tuple[dict[str, Floats], dict[str, Floats]] = ({}, {})
        for task in self.law.tasks:
            kind, _, which = task.partition("_")
            columns = getattr(self, f"_{kind}")(task, int(which))
            labels[task] = columns[0]
            for side, scores in zip(outputs, columns[1:], strict=True):
                side.update(scores)
        champion, challenger = (self._frame(side) for side in outputs)
        return Tables(challenger=challenger, champion=champion, labels=self._frame(labels))

    def _binary(self, task: str, which: int) -> tuple[Floats, dict[str, Floats], dict[str, Floats]]:
        signal = self._signal()
        truth = signal + self._noise()
        positive = (truth > np.quantile(truth, 1 - RATES[which])).astype(float)
        old, new = self._seen(signal)
        return positive, {f"s_{task}": old}, {f"s_{task}": new}

    def _classes(self, task: str, k: int) -> tuple[Floats, dict[str, Floats], dict[str, Floats]]:
        logits = [self._signal() - 0.5 * np.log1p(c) for c in range(k)]
        truth = np.argmax([one + 0.7 * self._noise() for one in logits], axis=0).astype(float)
        seen = [self._seen(one) for one in logits]
        old, new = ({f"s_{task}_{c}": pair[side] for c, pair in enumerate(seen)} for side in (0, 1))
        return truth, old, new

    def _value(self, task: str, which: int) -> tuple[Floats, dict[str, Floats], dict[str, Floats]]:
        signal = self._signal()
        old, new = self._seen(signal)
        return signal + self._noise(), {f"s_{task}": 0.3 * old}, {f"s_{task}": 0.3 * new}

    def _signal(self) -> Floats:
        return _mixed(self.taste, self._noise(), TASTE)

    def _seen(self, signal: Floats) -> tuple[Floats, Floats]:
        """The signal as champion and challenger see it."""
        common = signal + SHARED * self._noise()
        own = [OWN * _mixed(self.of_model[side], self._noise(), COMMON) for side in (0, 1)]
        return common + own[0], common + (1 - self.law.lift) * own[1]

    def _noise(self) -> Floats:
        """Standard normal, (N,): nearly the same on the rows of one customer."""
        per_customer = np.repeat(self.random.normal(size=self.customers), self.law.per_customer)
        if self.law.per_customer == 1:
            return per_customer
        return _mixed(per_customer, self.random.normal(size=len(per_customer)), float(np.sqrt(ALIKE)))

    def _frame(self, columns: Mapping[str, Floats]) -> pl.DataFrame:
        key = np.repeat(np.arange(self.customers, dtype=np.int32), self.law.per_customer)
        return pl.DataFrame({"customer_key": key, **columns})


def _mixed(one: Floats, other: Floats, share: float) -> Floats:
    """Standard normal again; correlation ``share`` with the first."""
    return np.asarray(share * one + np.sqrt(1 - share**2) * other)
