"""Is this row like the rows the teacher learnt from? Mahalanobis distance in the causal expert's latent.

    d(z) = || L^-1 (z - mu) ||        L L^T = Sigma, shrunk by Ledoit and Wolf, in float64
    flag: d > q                       q: the ceil((n + 1)(1 - rate))-th smallest of n calibration distances

Papers: Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples", NeurIPS 2018; Ledoit and
Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004; Vovk et al. for the quantile,
which holds the rate whatever the distribution is, where a chi-square quantile fails on heavy tails. z is taken before
its LayerNorm, which would fix the norm and erase how far out a row is. Three sets of rows that share none: mu and
Sigma from part fit, q from part calib, the rate that is reported from part fidelity.
``n`` rows, ``m`` width of the latent. Source: teacher.md 5.6 and 17.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from scipy.stats import betabinom, binomtest
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.errors import ContractError

Covariance = Literal["full", "diagonal"]
_SPREAD = 0.99  # of the counts that chance alone gives


@dataclass(frozen=True)
class OodReference:
    """What distances are measured from. ``mean`` (m,), ``factor`` (m, m) lower triangular, both float64.

    Thresholds are distances, not squares; None where too few calibration rows hold the rate.
    """

    mean: Tensor
    factor: Tensor
    threshold: float | None
    override: float | None
    rate: float
    override_rate: float
    covariance: Covariance
    shrinkage: float
    rows_fit: int
    rows_calibration: int
    calibrated_on: str
    as_of: str

    def distances(self, z: Tensor) -> Tensor:
        """(n, m) -> (n,) float64."""
        away = (z.detach().cpu().double() - self.mean).T  # (m, n)
        scaled = torch.linalg.solve_triangular(self.factor, away, upper=False)
        found: Tensor = scaled.square().sum(0).sqrt()
        return found

    def flags(self, distances: Tensor) -> Tensor | None:
        """(n,) bool; a distance that is not a number is flagged. None without a threshold."""
        return None if self.threshold is None else ~(distances <= self.threshold)

    @property
    def ref_id(self) -> str:
        """Names the content: the same numbers have the same id."""
        tensors, body = self.to_tensors()
        parts = [canonical_bytes({k: v if isinstance(v, str | int) else repr(v) for k, v in body.items()})]
        parts += [tensors[name].numpy().tobytes() for name in sorted(tensors)]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()

    def to_tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """For a checkpoint: tensors for safetensors, the rest for JSON."""
        body = {n: getattr(self, n) for n in self.__dataclass_fields__ if n not in ("mean", "factor")}
        return {"ood.mean": self.mean, "ood.factor": self.factor}, body

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], body: Mapping[str, Any]) -> OodReference:
        return cls(mean=tensors["ood.mean"], factor=tensors["ood.factor"], **body)


def fit_reference(
    fit: Tensor,
    calibration: Tensor,
    *,
    rate: float,
    override_rate: float,
    covariance: Covariance,
    calibrated_on: str,
    as_of: str,
) -> OodReference:
    """Reference and thresholds from latents (n, m) of two disjoint sets of rows.

    Args:
        as_of: newest cutoff among the fit rows; a reference is made again with every training.

    Raises:
        ContractError: fewer than two rows to fit on, or a latent that does not vary.
    """
    z = fit.detach().cpu().double()
    if len(z) < 2 or float(z.std(0).min()) == 0.0:
        raise ContractError(f"out-of-distribution: {len(z)} rows with {int((z.std(0) == 0).sum())} constant latents")
    factor, shrinkage = _factor(z.numpy(), covariance)
    bare = OodReference(
        z.mean(0), factor, None, None, rate, override_rate, covariance, shrinkage, len(z), len(calibration),
        calibrated_on, as_of,
    )  # fmt: skip
    seen = bare.distances(calibration)
    thresholds = {"threshold": conformal(seen, rate), "override": conformal(seen, override_rate)}
    return OodReference(**{n: getattr(bare, n) for n in bare.__dataclass_fields__} | thresholds)


def _factor(z: np.ndarray, covariance: Covariance) -> tuple[Tensor, float]:
    if covariance == "diagonal":
        return torch.diag(torch.from_numpy(z.std(axis=0))), 0.0
    sigma, shrinkage = ledoit_wolf(z)
    return torch.linalg.cholesky(torch.from_numpy(sigma)).contiguous(), float(shrinkage)


def conformal(distances: Tensor, rate: float) -> float | None:
    """The distance that a new row of the same kind exceeds with probability at most ``rate``.

    None where n is too small for any such distance (n < 1 / rate - 1). Source: Vovk et al., split conformal.
    """
    n = len(distances)
    k = _order(n, rate)
    return float(distances.sort().values[k - 1]) if k <= n else None


def _order(n: int, rate: float) -> int:
    """ceil((n + 1)(1 - rate)), safe against 0.95 * 20 being 19.000000000000004."""
    return math.ceil(round((n + 1) * (1 - rate), 9))


def held_out(distances: Tensor, reference: OodReference, tolerance: float) -> dict[str, Any]:
    """The false positive rate on rows that neither fitted nor calibrated, and whether it is what was promised.

    It passes within ``tolerance`` of the promised rate, or when chance alone explains the count: for n calibration
    rows and k the order of the threshold, the number of flags among N exchangeable rows is beta-binomial with
    (N, n + 1 - k, k), so the count is accepted inside the middle 99 % of that law. With few rows the tolerance alone
    would mostly measure luck. ``passed`` is None where there is nothing to judge.
    """
    n, flags = len(distances), reference.flags(distances)
    rule = f"|rate - {reference.rate}| <= {tolerance}, or within the middle {_SPREAD:.0%} of the beta-binomial count"
    if flags is None or not n:
        return {"rows": n, "rate": None, "passed": None, "rule": rule}
    count = int(flags.sum())
    low, high = binomtest(count, n).proportion_ci(0.95, "exact")
    k = _order(reference.rows_calibration, reference.rate)
    chance = betabinom(n, reference.rows_calibration + 1 - k, k)
    bounds = [float(chance.ppf(p)) / n for p in ((1 - _SPREAD) / 2, (1 + _SPREAD) / 2)]
    near = abs(count / n - reference.rate) <= tolerance
    return {
        "rows": n,
        "rate": count / n,
        "interval95": [float(low), float(high)],
        "chance99": bounds,
        "within_tolerance": near,
        "passed": near or bounds[0] <= count / n <= bounds[1],
        "rule": rule,
    }
