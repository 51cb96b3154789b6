"""Layer 3: financial-DNA rules, for when no model may or can answer. One small function per task.

A rule looks at exact names: columns of the feature row and the measures exported beside it
(``contracts/rule_inputs.py``). What a source does not carry is missing, and a rule without its inputs answers the base
rate instead of guessing, and says so. Source: serving.md 8.

    base.py    what a rule is given and gives     behaviour.py, products.py    the thirteen rules
    check.py   all rules on five customers, at start: rules that are broken serve nobody
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline_lib.serve.rules import behaviour, products
from pipeline_lib.serve.rules.base import BASE_CONFIDENCE, Case, Named, Rule, RuleAnswer, Task

__all__ = ["RULES", "Named", "RuleAnswer", "RuleBook", "Task"]

RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        behaviour.churn_signal, behaviour.product_stability, products.segment_prediction, products.nba_primary,
        behaviour.cross_sell_count, products.will_acquire_deposits, products.will_acquire_investments,
        products.will_acquire_accounts, products.will_acquire_lending, products.will_acquire_payments,
        behaviour.next_mcc, behaviour.mcc_diversity_trend, behaviour.top_mcc_shift,
    )
}  # fmt: skip
"""Task -> its rule."""


@dataclass(frozen=True)
class RuleBook:
    """Layer 3 of one package: thresholds, the bank's products and the tree of its categories."""

    limits: Mapping[str, Any]
    products: Sequence[Mapping[str, Any]]
    groups: Mapping[str, str] = field(default_factory=dict)
    """Category -> its top level."""
    base_only: bool = False
    """The policy is from before there were thirteen rules and lacks their limits: its version answers base rates."""
    broken: str | None = None
    """Why no rule may answer: found at start."""

    def answer(self, task: Task, row: Named, *, raw_only: bool = False) -> RuleAnswer:
        """One task for one customer; never raises for a missing input.

        Args:
            raw_only: for a customer who has opted out: no input that a model made.
        """
        if self.broken or not task.base:
            return RuleAnswer(f"{task.name}.unknown", (), BASE_CONFIDENCE, ())
        rule = None if self.base_only else RULES.get(task.name)
        case = Case(task, row, self.limits, self.products, self.groups, raw_only)
        found = rule(case) if rule else None
        return found or RuleAnswer(f"{task.name}.base_rate", task.base, BASE_CONFIDENCE, ())
