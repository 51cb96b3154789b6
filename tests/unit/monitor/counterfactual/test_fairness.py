"""Groups under both models: acceptance and opportunity against the truth, what is shown by replay, small groups."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline_lib.monitor.counterfactual import fairness
from pipeline_lib.monitor.counterfactual.bootstrap import Bootstrap
from pipeline_lib.monitor.counterfactual.fairness import Compared, Side
from pipeline_lib.monitor.counterfactual.trials import Trials
from pipeline_lib.monitor.counterfactual.weights import Array, importance
from tests.unit.monitor.counterfactual.simulated import LIMITS, WIDE, trials_of

LOG = WIDE.log(20_000, 1)
WOMEN = LOG.x[:, 0] > 0.5
"""A group that differs in a trait both models read."""


def trials(**changed: object) -> Trials:
    return trials_of(LOG, groups={"gender": np.where(WOMEN, "F", "M")}, **changed)


def sides(found: Trials) -> list[Side]:
    mu = found.at_action(found.mu)
    weights = {"champion": np.ones(len(found)), "challenger": importance(found.at_action(found.challenger), mu)}
    return [Side(name, w) for name, w in weights.items()]


def models(found: Trials) -> dict[str, Array]:
    return {"champion": found.mu, "challenger": found.challenger}


def outcomes(found: Trials) -> dict[tuple[str, str], Compared]:
    draws = Bootstrap(found.customers, 100, 1)
    made = fairness.outcomes(found, sides(found), draws, 0.05, LIMITS)
    return {(one.model, one.metric): one for one in made}


@pytest.mark.parametrize("model", ["champion", "challenger"])
def test_acceptance_and_opportunity_are_those_of_the_truth(model: str) -> None:
    found, pi = outcomes(trials()), {"champion": LOG.mu, "challenger": LOG.pi}[model]
    accepted = [(pi * LOG.truth)[cell].sum(axis=1).mean() for cell in (WOMEN, ~WOMEN)]
    wanted = [LOG.truth[cell].sum(axis=1).mean() for cell in (WOMEN, ~WOMEN)]
    assert found[model, "DI"].value == pytest.approx(accepted[0] / accepted[1], rel=0.05)
    assert found[model, "SPD"].value == pytest.approx(accepted[0] - accepted[1], abs=0.01)
    assert found[model, "EOD"].value == pytest.approx(accepted[0] / wanted[0] - accepted[1] / wanted[1], abs=0.015)
    for one in found.values():
        assert one.low is not None
        assert one.high is not None
        assert one.low < (one.value or 0) < one.high


def test_states_are_by_the_policys_limits() -> None:
    found = outcomes(trials())["champion", "DI"]
    assert found.value is not None
    fair = LIMITS.fairness
    inside = fair.di_low <= found.value <= fair.di_high
    assert found.state == ("OK" if inside else "BREACH")
    tight = LIMITS.model_copy(update={"fairness": fair.model_copy(update={"di_low": 0.999, "di_high": 1.001})})
    made = fairness.outcomes(trials(), sides(trials()), Bootstrap(LOG.customers, 100, 1), 0.05, tight)
    assert made[0].state == "BREACH"


def test_a_group_with_too_small_a_sample_is_not_compared() -> None:
    groups = np.where(WOMEN, "F", "M")
    groups[:100] = "X"
    found = trials_of(LOG, groups={"gender": groups})
    made = fairness.outcomes(found, sides(found), Bootstrap(found.customers, 50, 1), 0.05, LIMITS)
    small = [one for one in made if one.group == "X"]
    assert {(one.value, one.low, one.state) for one in small} == {(None, None, "INSUFFICIENT")}
    assert {one.state for one in made if one.group == "F"} <= {"OK", "BREACH"}


def test_what_would_be_shown_needs_no_outcome_and_no_weight() -> None:
    one, other = trials(), trials(reward=1 - LOG.reward, mu=LOG.mu[:, ::-1])
    made = fairness.shown(one, models(one), LIMITS)
    assert made == fairness.shown(other, models(one), LIMITS)
    item = next(c for c in made if (c.model, c.about, c.metric) == ("challenger", "shown:item 0", "DI"))
    assert item.value == pytest.approx(LOG.pi[WOMEN, 0].mean() / LOG.pi[~WOMEN, 0].mean())


def test_an_item_hardly_shown_to_the_reference_is_not_compared() -> None:
    challenger = LOG.pi.copy()
    challenger[:, 0] = 1e-5
    found = trials(challenger=challenger)
    made = [c for c in fairness.shown(found, models(found), LIMITS) if c.about == "shown:item 0"]
    assert {c.state for c in made if c.model == "challenger"} == {"INSUFFICIENT"}


def test_unknown_groups_are_in_no_comparison_and_zero_is_the_worst_ratio() -> None:
    found = trials_of(LOG, groups={"gender": np.where(WOMEN, "", "M")})
    assert fairness.outcomes(found, sides(found), Bootstrap(found.customers, 50, 1), 0.05, LIMITS) == []
    made = [
        Compared("challenger", "gender", group, "M", "shown:a", "DI", value, "BREACH", 500.0)
        for group, value in (("F", 0.5), ("X", 0.0), ("Y", None))
    ]
    assert fairness.worst(made, "challenger", "shown:", "DI") == made[1]
    assert fairness.worst(made, "champion", "shown:", "DI") is None
