"""Is this row like the rows the teacher learnt from? Mahalanobis distance where the causal expert looks.

    d(u) = || L^-1 (u - mu) ||        u = [ z, ln d_x(x) ];  L L^T = Sigma, shrunk by Ledoit and Wolf, in float64
    flag: d > q                       q: the ceil((n + 1)(1 - rate))-th smallest of n calibration distances

z is the expert's latent before its LayerNorm, which would fix the norm and erase how far out a row is; d_x is the same
distance among the expert's columns themselves. How ours differs: the published score is that of z alone (``space:
latent``). But z comes out of a layer that is normalised too, so it hardly grows with its input: on the synthetic bank
z alone flagged 34 to 63 % of rows that cannot exist, with ln d_x beside it 99.5 to 100 %, at the same rate of 5 %.

Papers: Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples", NeurIPS 2018; Ledoit and
Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004; Vovk et al. for the quantile,
which holds the rate whatever the distribution is, where a chi-square quantile fails on heavy tails. Three sets of rows
that share none: mu and Sigma from part fit, q from part calib, the rate that is reported from part fidelity.
``n`` rows, ``m`` width of the latent, ``F`` columns of the expert. Source: teacher.md 5.6 and 17.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from scipy.stats import betabinom, binomtest
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.errors import ContractError

Covariance = Literal["full", "diagonal"]
Space = Literal["latent_and_inputs", "latent"]
_SPREAD = 0.99  # of the counts that chance alone gives
_NEAREST = 1e-6  # ln of a distance of 0


@dataclass(frozen=True)
class Ellipsoid:
    """Centre (w,) and lower triangular factor (w, w) of the covariance, float64."""

    mean: Tensor
    factor: Tensor

    @classmethod
    def around(cls, values: Tensor, covariance: Covariance) -> Ellipsoid:
        """Of rows (n, w). Columns are brought to one scale before the shrinkage, which pulls towards a sphere."""
        v = values.detach().cpu().double()
        scale = v.std(0, correction=0)
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        if covariance == "diagonal":
            return cls(v.mean(0), torch.diag(scale))
        sigma, _ = ledoit_wolf((v / scale).numpy())
        factor: Tensor = torch.linalg.cholesky(torch.from_numpy(sigma))
        return cls(v.mean(0), (scale[:, None] * factor).contiguous())

    def distances(self, values: Tensor) -> Tensor:
        """(n, w) -> (n,) float64."""
        away = (values.detach().cpu().double() - self.mean).T  # (w, n)
        scaled = torch.linalg.solve_triangular(self.factor, away, upper=False)
        found: Tensor = scaled.square().sum(0).sqrt()
        return found


@dataclass(frozen=True)
class Shape:
    """What distances are measured from. ``inputs`` is None where only the latent is looked at."""

    latent: Ellipsoid
    inputs: Ellipsoid | None

    @classmethod
    def of(cls, z: Tensor, own: Tensor, covariance: Covariance, space: Space) -> Shape:
        """From latents (n, m) and the expert's columns (n, F) of the fit rows.

        Raises:
            ContractError: fewer than two rows, or a latent that does not vary.
        """
        constant = int((z == z[:1]).all(0).sum())
        if len(z) < 2 or constant:
            raise ContractError(f"out-of-distribution: {len(z)} rows with {constant} constant latents")
        inputs = Ellipsoid.around(own, covariance) if space == "latent_and_inputs" else None
        return cls(Ellipsoid.around(_joined(z, own, inputs), covariance), inputs)

    def distances(self, z: Tensor, own: Tensor) -> Tensor:
        """(n, m), (n, F) -> (n,) float64."""
        return self.latent.distances(_joined(z, own, self.inputs))


def _joined(z: Tensor, own: Tensor, inputs: Ellipsoid | None) -> Tensor:
    plain = z.detach().cpu().double()
    if inputs is None:
        return plain
    return torch.cat([plain, inputs.distances(own).clamp(min=_NEAREST).log()[:, None]], dim=1)  # (n, m + 1)


@dataclass(frozen=True)
class OodReference:
    """Shape and thresholds: distances, not squares; None where too few calibration rows hold the rate."""

    shape: Shape
    threshold: float | None
    override: float | None
    rate: float
    override_rate: float
    rows_fit: int
    rows_calibration: int
    calibrated_on: str
    as_of: str
    """Newest cutoff among the fit rows; a reference is made again with every training."""

    def distances(self, z: Tensor, own: Tensor) -> Tensor:
        return self.shape.distances(z, own)

    def flags(self, distances: Tensor) -> Tensor | None:
        """(n,) bool; a distance that is not a number is flagged. None without a threshold."""
        return None if self.threshold is None else ~(distances <= self.threshold)

    @property
    def ref_id(self) -> str:
        """Names the content: the same numbers have the same id."""
        tensors, body = self.to_tensors()
        parts = [canonical_bytes({k: v if isinstance(v, str | int) else repr(v) for k, v in body.items()})]
        parts += [name.encode() + tensors[name].numpy().tobytes() for name in sorted(tensors)]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()

    def to_tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """For a checkpoint: tensors for safetensors, the rest for JSON."""
        body = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "shape"}
        found = {"ood.latent.mean": self.shape.latent.mean, "ood.latent.factor": self.shape.latent.factor}
        if self.shape.inputs is not None:
            found |= {"ood.inputs.mean": self.shape.inputs.mean, "ood.inputs.factor": self.shape.inputs.factor}
        return found, body

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], body: Mapping[str, Any]) -> OodReference:
        latent = Ellipsoid(tensors["ood.latent.mean"], tensors["ood.latent.factor"])
        inputs = None
        if "ood.inputs.mean" in tensors:
            inputs = Ellipsoid(tensors["ood.inputs.mean"], tensors["ood.inputs.factor"])
        return cls(Shape(latent, inputs), **body)


def calibrated(
    shape: Shape,
    distances: Tensor,
    *,
    rate: float,
    override_rate: float,
    rows_fit: int,
    calibrated_on: str,
    as_of: str,
) -> OodReference:
    """Thresholds from the distances (n,) of rows that the shape has not seen."""
    near, far = conformal(distances, rate), conformal(distances, override_rate)
    return OodReference(shape, near, far, rate, override_rate, rows_fit, len(distances), calibrated_on, as_of)


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
