"""May an attribution be believed? Five tests on held-out rows; each names its value and its bound.

    variance_ratio    variance between rows / variance within a row: answers differ from row to row
    top_overlap       share of the largest columns that two rows have in common: so do the drivers
    noise_stability   Spearman of a row's answer with that of the row plus noise
    target_spearman   Spearman of a row's answer with its exact target
    deletion_gain     how much farther s moves when the named columns go first than when random ones do: the lower
                      95 % bound of the mean, relative to random; above 0 the names mean something

Two random rows share k/F of their k largest columns, so k is 10 but at most a quarter of the columns.
Source: teacher.md 17. ``N`` rows, ``F`` columns, ``S`` shares of columns deleted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.settings.teacher.explain import Attribution
from pipeline_lib.teacher.explain.attribution import Attributor
from pipeline_lib.teacher.explain.ranks import mean_known, spearman_rows, spread_ratio, top_overlap
from pipeline_lib.teacher.explain.view import chunks
from pipeline_lib.teacher.frame import Batch, Frame

SHARES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5)
_TOP = 10
_Z95 = 1.645  # one-sided


@dataclass(frozen=True)
class Check:
    """One value against its bound; a value that could not be found does not pass."""

    value: float | None
    bound: float
    side: str  # "min": at least the bound; "max": at most; "above": more than it

    @property
    def passed(self) -> bool:
        if self.value is None:
            return False
        return {"min": self.value >= self.bound, "max": self.value <= self.bound, "above": self.value > self.bound}[
            self.side
        ]

    def to_dict(self) -> dict[str, Any]:
        return {"value": self.value, self.side: self.bound, "passed": self.passed}


@dataclass(frozen=True)
class Deletion:
    """Mean |change of s| after deleting each share of the columns, in the attribution's order and in random order."""

    shares: tuple[float, ...]
    named: tuple[float, ...]
    random: tuple[float, ...]


@dataclass(frozen=True)
class Quality:
    rows: int
    checks: Mapping[str, Check]
    deletion: Deletion

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks.values())

    def to_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "passed": self.passed,
            "checks": {name: check.to_dict() for name, check in self.checks.items()},
            "deletion": {name: list(getattr(self.deletion, name)) for name in ("shares", "named", "random")},
        }


def judge(
    attributor: Attributor,
    frame: Frame,
    rows: Tensor,
    policy: Attribution,
    batch_rows: int,
    seed: int,
    device: torch.device,
) -> Quality:
    """Look at the first ``gate_rows`` of ``rows`` (part fidelity; rows come in the order of a hash)."""
    chance = torch.Generator().manual_seed(seed)
    found: dict[str, list[np.ndarray]] = {"own": [], "noisy": [], "exact": [], "named": [], "random": []}
    rows = rows[: policy.gate_rows]
    baseline = attributor.view.own(frame.x[rows]).mean(0).to(device)  # (F,)
    for chunk in chunks(rows, batch_rows):
        batch = frame.batch(chunk).to(device)
        x, own = attributor.view.own(batch.x), attributor.of(batch)
        noise = torch.randn(x.shape, generator=chance).to(device) * policy.noise_sigma
        luck = torch.rand(x.shape, generator=chance).to(device)
        measured = {
            "own": own,
            "noisy": attributor.of(attributor.view.with_own(batch, x + noise)),
            "exact": attributor.exact().of(batch),
            "named": _changes(attributor, batch, own.abs(), baseline),
            "random": _changes(attributor, batch, luck, baseline),
        }
        for name, value in measured.items():
            found[name].append(value.cpu().double().numpy())
    width = len(attributor.view.columns)
    whole = {n: np.concatenate(v) if v else np.zeros((0, width)) for n, v in found.items()}
    return Quality(len(rows), _checks(whole, policy), _deletion(whole["named"], whole["random"]))


def _checks(found: Mapping[str, np.ndarray], policy: Attribution) -> dict[str, Check]:
    own = found["own"]
    k = min(_TOP, max(1, own.shape[1] // 4))
    some = len(own) > 1
    return {
        "variance_ratio": Check(spread_ratio(own) if some else None, policy.min_variance_ratio, "min"),
        "top_overlap": Check(top_overlap(own, k), policy.max_top10_overlap, "max"),
        "noise_stability": Check(mean_known(spearman_rows(own, found["noisy"])), policy.min_noise_spearman, "min"),
        "target_spearman": Check(mean_known(spearman_rows(own, found["exact"])), policy.min_target_spearman, "min"),
        "deletion_gain": Check(_gain(found["named"], found["random"]) if some else None, 0.0, "above"),
    }


def _changes(attributor: Attributor, batch: Batch, importance: Tensor, baseline: Tensor) -> Tensor:
    """|s(x) - s(x without its most important columns)| for each share. importance (B, F) -> (B, S).

    A deleted column takes its mean over the rows, which is what the target measures departures from.
    """
    view = attributor.view
    start, own = attributor.readings(batch), view.own(batch.x)
    rank = importance.argsort(dim=1, descending=True).argsort(dim=1)  # 0: most important
    moved = []
    for share in SHARES:
        gone = rank < max(1, round(share * own.shape[1]))
        moved.append((attributor.readings(view.with_own(batch, own.where(~gone, baseline))) - start).abs())
    return torch.stack(moved, dim=1)


def _gain(named: np.ndarray, random: np.ndarray) -> float | None:
    """Lower 95 % bound of the mean area between the curves, relative to the area under the random one."""
    area = _area(random).mean()
    if not area > 0:
        return None
    gain = _area(named) - _area(random)
    return float((gain.mean() - _Z95 * gain.std(ddof=1) / np.sqrt(len(gain))) / area)


def _area(curves: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.trapezoid(curves, SHARES, axis=1)
    return found


def _deletion(named: np.ndarray, random: np.ndarray) -> Deletion:
    def mean(curves: np.ndarray) -> Sequence[float]:
        return curves.mean(0).tolist() if len(curves) else []

    return Deletion(SHARES, tuple(mean(named)), tuple(mean(random)))
