"""Labels read from the panel, as data.md 6.2 defines them: their rates, and what can be known about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from pipeline_lib.ingest.adapters.synthetic import bank_of, laws_of
from pipeline_lib.ingest.synthetic import block, customers, demographics
from pipeline_lib.ingest.synthetic.block import State
from pipeline_lib.ingest.synthetic.laws import CHURN, GROUPS, Laws

from .conftest import LOGICAL_DATE, MakeSource

CUSTOMERS = 8000
FIRST_CUTOFF = 7
"""After the panel's jump."""
Area = Callable[[Any, Any], float]


@dataclass(frozen=True)
class Labels:
    """Customer-months of one bank, pooled over cutoffs."""

    cutoff: np.ndarray
    month: np.ndarray
    """Calendar month of the label."""
    held: np.ndarray
    """Number of products at the cutoff."""
    lapsed: np.ndarray
    value: dict[str, np.ndarray]
    observed: dict[str, np.ndarray]
    signal: dict[str, np.ndarray]
    possible: dict[str, np.ndarray]
    added: np.ndarray
    jaccard: np.ndarray


def _panel(source: Any) -> tuple[Laws, list[State]]:
    laws, bank = laws_of(source), bank_of(source, LOGICAL_DATE)
    people = customers.draw(laws, bank.seed, 0, 0, bank.customers)
    return laws, list(block.live(laws, people, demographics.draw(laws, people), bank.start, bank.months))


def _labels(laws: Laws, states: list[State]) -> Labels:
    """One row per customer present at cutoff and label month; churn only where products are held."""
    held = np.stack([s.holdings.held for s in states])
    present = np.stack([s.present for s in states])
    number = held.sum(axis=2)
    parts: list[dict[str, np.ndarray]] = []
    for c in range(FIRST_CUTOFF, len(states) - 1):
        m, rows = states[c + 1], present[c] & present[c + 1]
        window = slice(max(0, c - 11), c + 1)
        mean = np.where(present[window], number[window], 0).sum(axis=0) / np.maximum(present[window].sum(axis=0), 1)
        new = held[c + 1] & ~held[c]
        both, either = (held[c] & held[c + 1]).sum(axis=1), (held[c] | held[c + 1]).sum(axis=1)
        part = {
            "cutoff": np.full(len(mean), c),
            "month": np.full(len(mean), m.month.snapshot.month),
            "held": number[c],
            "lapsed": number[c] < 0.7 * mean,
            "added": new.sum(axis=1),
            "jaccard": both / np.maximum(either, 1),
            f"value {CHURN}": number[c + 1] < 0.7 * mean,
        }
        part |= {f"value {g}": new[:, laws.products.members(g)].any(axis=1) for g in GROUPS}
        for name, propensity in m.propensities.items():
            part |= {f"observed {name}": propensity.observed, f"signal {name}": propensity.signal}
            part[f"possible {name}"] = m.holdings.probability[name] > 0
        parts.append({key: column[rows] for key, column in part.items()})
    whole = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    nested = {
        kind: {key.split()[1]: column for key, column in whole.items() if key.startswith(f"{kind} ")}
        for kind in ("value", "observed", "signal", "possible")
    }
    return Labels(**{key: column for key, column in whole.items() if " " not in key}, **nested)


@pytest.fixture(scope="module")
def panel(make_source: MakeSource) -> tuple[Laws, list[State]]:
    return _panel(make_source(customers=CUSTOMERS))


@pytest.fixture(scope="module")
def labels(panel: tuple[Laws, list[State]]) -> Labels:
    return _labels(*panel)


def _ceilings(observed: float, latent: float, rate: float, flip: float, area: Area) -> tuple[float, float]:
    """Monte Carlo of the Gaussian model: best AUC from O alone, and from O and L. Source: data.md 8.6."""
    rng, size = np.random.default_rng(0), 400_000
    o, hidden, noise = rng.standard_normal((3, size)) * np.sqrt([[observed], [latent], [1 - observed - latent]])
    score = o + hidden + noise
    event = score > np.quantile(score, 1 - rate)
    uniform = rng.random(size)
    event = (event & (uniform >= flip)) | (~event & (uniform < flip * rate / (1 - rate)))
    return area(event, o), area(event, o + hidden)


def test_the_gaussian_model_has_the_ceilings_of_the_specification(auc: Area) -> None:
    assert _ceilings(0.15, 0.35, 0.05, 0.20, auc) == pytest.approx((0.684, 0.815), abs=0.01)
    assert _ceilings(0.15, 0.35, 0.046, 0.30, auc) == pytest.approx((0.660, 0.774), abs=0.01)
    assert _ceilings(0.04, 0.28, 0.05, 0.20, auc) == pytest.approx((0.596, 0.759), abs=0.01)


@pytest.mark.parametrize(
    ("task", "rate"),
    [
        ("churn", 0.05),
        ("deposits", 0.046),
        ("investments", 0.037),
        ("accounts", 0.055),
        ("lending", 0.037),
        ("payments", 0.046),
    ],
)
def test_label_rates_are_those_of_the_benchmark(labels: Labels, task: str, rate: float) -> None:
    rows = (labels.held > 0) if task == CHURN else labels.month != 6  # June is a season of its own
    assert labels.value[task][rows].mean() == pytest.approx(rate, rel=0.15)


def test_any_addition_happens_in_15_percent_of_months_and_june_has_a_season(labels: Labels) -> None:
    june = labels.month == 6
    assert (labels.added > 0)[~june].mean() == pytest.approx(0.15, rel=0.10)
    assert 1.1 < (labels.added > 0)[june].mean() / (labels.added > 0)[~june].mean() < 1.4


def test_additions_and_stability_are_near_the_benchmark(labels: Labels) -> None:
    assert labels.added.mean() == pytest.approx(0.22, rel=0.20)
    assert labels.jaccard[(labels.held + labels.added) > 0].mean() == pytest.approx(0.91, rel=0.20)


def test_mean_holdings_stay_put(panel: tuple[Laws, list[State]]) -> None:
    mean = [s.holdings.held[s.present].sum(axis=1).mean() for s in panel[1]]
    assert 1.0 < min(mean) < max(mean) < 2.1
    assert max(mean) / min(mean) < 1.07


def test_one_churn_is_one_positive_label(labels: Labels) -> None:
    positives = labels.value[CHURN] & (labels.held > 0)
    assert labels.lapsed[positives].mean() < 0.12


@pytest.mark.parametrize("task", [CHURN, "deposits", "investments", "accounts", "lending", "payments"])
def test_what_can_be_known_about_a_label_is_what_the_budget_declares(
    panel: tuple[Laws, list[State]], labels: Labels, auc: Area, task: str
) -> None:
    preset = panel[0].policy.presets["standard"]
    budget = preset.churn if task == CHURN else preset.additions
    rows = labels.possible[task] & ((labels.held > 0) if task == CHURN else True)
    value = labels.value[task][rows]
    observed, oracle = _ceilings(budget.observed, budget.latent, float(value.mean()), budget.flip, auc)
    # Former products reopened by returning customers dilute the additions a little.
    assert auc(value, labels.signal[task][rows]) == pytest.approx(oracle, abs=0.03)
    assert auc(value, labels.observed[task][rows]) == pytest.approx(observed, abs=0.04)


def test_permuted_labels_cannot_be_known(labels: Labels, auc: Area) -> None:
    shuffled = np.random.default_rng(1).permutation(labels.value["deposits"])
    assert auc(shuffled, labels.signal["deposits"]) == pytest.approx(0.5, abs=0.02)


def test_the_hard_preset_is_harder_at_the_same_rates(make_source: MakeSource, labels: Labels, auc: Area) -> None:
    hard = _labels(*_panel(make_source(customers=CUSTOMERS, preset="hard")))
    for task in ("deposits", "accounts"):
        assert auc(hard.value[task], hard.observed[task]) < auc(labels.value[task], labels.observed[task]) - 0.03
        assert auc(hard.value[task], hard.signal[task]) < auc(labels.value[task], labels.signal[task]) - 0.02
        assert hard.value[task].mean() == pytest.approx(labels.value[task].mean(), rel=0.12)


def test_the_realistic_rates_are_rare(make_source: MakeSource) -> None:
    real = _labels(*_panel(make_source(customers=4000, rates="realistic")))
    assert (real.added > 0).mean() < 0.07
    assert real.value[CHURN][real.held > 0].mean() < 0.035
