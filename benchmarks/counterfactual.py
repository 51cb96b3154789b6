"""Off-policy estimates against the truth of simulated logs, and what a log must be like to say anything.

    python -m benchmarks.counterfactual                       both tables, about five minutes on one core
    python -m benchmarks.counterfactual --simulations 100     a look
    python -m benchmarks.counterfactual --peer FOLDER         the same logs through the Open Bandit Pipeline as well

The peer pins numpy < 2, so it is not among our extras; its estimators run with ours when installed alone:

    pip install --no-deps --target FOLDER sb-obp==0.5.10 seaborn==0.13.2 pyieoe==0.1.1

Table 1: bias, spread and coverage of each estimator of the challenger's value and of its lift, 95 % intervals. Table 2:
verdicts by exploration and by how much the two models differ. Table 3: seconds of one finding.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bandit_world import ITEMS, Array, Log, World
from pipeline_lib import settings
from pipeline_lib.monitor.counterfactual import judge, rewards
from pipeline_lib.monitor.counterfactual.bootstrap import Bootstrap, interval
from pipeline_lib.monitor.counterfactual.estimate import Ratio, doubly_robust, ips, logged_mean, snips
from pipeline_lib.monitor.counterfactual.trials import Trials
from pipeline_lib.monitor.counterfactual.weights import effective_size, importance
from pipeline_lib.settings import Place

WIDE = World(epsilon=0.7, per_customer=5)
CUSTOMERS, RESAMPLES = 600, 1000
Peer = Callable[[Log, Array, int], dict[str, tuple[float, float, float]]]
SHIPPED = settings.load("synthetic", Place(dataset="synthetic"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=500)
    parser.add_argument("--peer", type=Path, help="folder with the Open Bandit Pipeline")
    asked = parser.parse_args()
    print_table(list(coverage(asked.simulations, open_peer(asked.peer) if asked.peer else None)))
    print_table(list(verdicts(max(asked.simulations // 10, 20))))
    print_table(list(seconds()))


def coverage(simulations: int, peer: Peer | None) -> Iterator[Sequence[str]]:
    """Bias and spread of the value; coverage and width of its interval and of the lift's."""
    champion, challenger = WIDE.values()
    found: dict[str, list[tuple[float, ...]]] = {}
    for s in range(simulations):
        log = WIDE.log(CUSTOMERS, s)
        q = _q(log)
        for name, row in _ours(log, q, s).items():
            found.setdefault(name, []).append(row)
        for name, (value, low, high) in (peer(log, q, s) if peer else {}).items():
            found.setdefault(name, []).append((value, low, high, np.nan, np.nan))
    n = CUSTOMERS * WIDE.per_customer
    yield (
        f"{simulations} windows of {n} answers, {CUSTOMERS} customers; truth {challenger:.5f}, lift "
        f"{challenger - champion:+.5f}", "bias", "RMSE", "value covered", "width", "lift covered", "width",
    )  # fmt: skip
    for name, rows in found.items():
        value, low, high, lift_low, lift_high = np.array(rows).T
        lift = challenger - champion
        inside = np.mean((lift_low <= lift) & (lift <= lift_high)) if np.isfinite(lift_low).all() else np.nan
        yield (
            name, f"{value.mean() - challenger:+.5f}", f"{np.sqrt(np.mean((value - challenger) ** 2)):.5f}",
            f"{np.mean((low <= challenger) & (challenger <= high)):.3f}", f"{(high - low).mean():.4f}",
            *(("-", "-") if np.isnan(inside) else (f"{inside:.3f}", f"{(lift_high - lift_low).mean():.4f}")),
        )  # fmt: skip


def _ours(log: Log, q: Array, seed: int) -> dict[str, tuple[float, ...]]:
    w, at = importance(log.logged_pi, log.logged_mu), np.arange(len(log.reward))
    ratios = {
        "IPS": ips(w, log.reward),
        "SNIPS": snips(w, log.reward),
        "DR": doubly_robust(log.pi, q, q[at, log.action], w, log.reward),
        "defect: q at the logged action": Ratio(
            q[at, log.action] + w * (log.reward - q[at, log.action]), np.ones_like(w)
        ),
    }
    drawn = Bootstrap(log.customers, RESAMPLES, seed).values([*ratios.values(), logged_mean(log.reward)])
    found = {}
    for i, (name, ratio) in enumerate(ratios.items()):
        value, lift = interval(drawn[:, i], 0.05), interval(drawn[:, i] - drawn[:, -1], 0.05)
        assert value
        assert lift
        found[name] = (float(ratio.value or 0), value.low, value.high, lift.low, lift.high)
    return found


def open_peer(folder: Path) -> Peer:
    """The Open Bandit Pipeline on one log: value and its own bootstrap interval (of answers, not of customers)."""
    sys.path.append(str(folder))
    from obp import ope  # type: ignore[import-not-found]

    kinds: dict[str, Any] = {
        "obp IPS": ope.InverseProbabilityWeighting(),
        "obp SNIPS": ope.SelfNormalizedInverseProbabilityWeighting(),
        "obp DR": ope.DoublyRobust(),
    }

    def peer(log: Log, q: Array, seed: int) -> dict[str, tuple[float, float, float]]:
        given = {
            "reward": log.reward, "action": log.action, "pscore": log.logged_mu, "action_dist": log.pi[:, :, None],
            "position": np.zeros(len(log.action), dtype=int),
        }  # fmt: skip
        found = {}
        for name, estimator in kinds.items():
            more = {"estimated_rewards_by_reg_model": q[:, :, None]} if name == "obp DR" else {}
            value = float(estimator.estimate_policy_value(**given, **more))
            span = estimator.estimate_interval(**given, **more, n_bootstrap_samples=RESAMPLES, random_state=seed)
            found[name] = (value, float(span["95.0% CI (lower)"]), float(span["95.0% CI (upper)"]))
        return found

    return peer


def verdicts(windows: int) -> Iterator[Sequence[str]]:
    """What is said of a better challenger, by exploration and by how different it is."""
    yield (
        f"{windows} windows of 10,000 answers of 2,000 customers", "first choices equal", "true lift", "ESS / n",
        "clipped at 10", "verdicts",
    )  # fmt: skip
    for skill in (0.0, 0.1, 0.3, 1.0):
        for epsilon in (0.05, 0.1, 0.2, 0.3, 0.5, 0.7):
            world = World(epsilon=epsilon, skill=skill, per_customer=5)
            logs = [world.log(2_000, s) for s in range(windows)]
            weights = np.concatenate([importance(log.logged_pi, log.logged_mu) for log in logs])
            said = Counter(_judged(log).verdict for log in logs)
            champion, challenger = world.values()
            same = np.mean([(log.mu.argmax(axis=1) == log.pi.argmax(axis=1)).mean() for log in logs])
            yield (
                f"skill {skill}, epsilon {epsilon}", f"{same:.3f}", f"{challenger - champion:+.4f}",
                f"{effective_size(weights) / len(weights):.3f}",
                f"{np.maximum(weights - 10, 0).sum() / weights.sum():.3f}",
                ", ".join(f"{count} {verdict}" for verdict, count in said.most_common()),
            )  # fmt: skip


def seconds() -> Iterator[Sequence[str]]:
    yield "one finding, 1,000 resamples", "answers", "CPU seconds"
    for customers in (2_000, 4_000):
        log, started = WIDE.log(customers, 1), time.process_time()
        _judged(log)
        yield "", f"{len(log.reward)}", f"{time.process_time() - started:.2f}"


def _judged(log: Log) -> judge.Finding:
    n = len(log.reward)
    groups = {"gender": np.where(log.customers % 2 == 0, "M", "F")}
    trials = Trials(
        customers=log.customers, by_champion=np.ones(n, dtype=bool), drawn=np.ones(n, dtype=bool),
        items=np.tile(np.arange(ITEMS), (n, 1)), names=tuple(f"item {a}" for a in range(ITEMS)), scores=log.scores,
        mu=log.mu, champion=log.mu, challenger=log.pi, action=log.action, reward=log.reward, x=log.x, groups=groups,
    )  # fmt: skip
    return judge.judge(trials, SHIPPED.promotion.counterfactual, SHIPPED.monitoring)


def _q(log: Log) -> Array:
    items, rules = np.tile(np.arange(ITEMS), (len(log.reward), 1)), SHIPPED.monitoring.counterfactual
    folds = rewards.folds_of(log.customers, rules.folds, rules.seed)
    return rewards.cross_fitted(log.x, log.scores, items, log.action, log.reward, folds, rules.ridge)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()


if __name__ == "__main__":
    main()
