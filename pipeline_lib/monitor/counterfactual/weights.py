"""Importance weights w = pi / mu of logged actions, and whether a log supports the model they are for.

Support is judged on the weights as they are, clipping is for the estimate: a clipped weight can hide that the log says
nothing. Source: promotion.md 10; effective sample size: Kish, 1965.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.settings.monitoring import Counterfactual as Limits
from pipeline_lib.settings.promotion import Counterfactual as Policy

Array = NDArray[np.float64]


def importance(pi: Array, mu: Array) -> Array:
    """The weights pi / mu (n,).

    Raises:
        ValueError: a propensity that is not in (0, 1]: an action that cannot have been drawn.
    """
    if not (np.isfinite(mu).all() and (mu > 0).all() and (mu <= 1).all()):
        raise ValueError(f"propensities are in (0, 1], found {mu.min()} to {mu.max()}")
    return np.asarray(pi / mu, dtype=np.float64)


def clipped_mass(w: Array, clip: float) -> float | None:
    """Share of the weights' sum that clipping at ``clip`` cuts off [0..1]; None when all weights are 0."""
    total = float(w.sum())
    return float(np.maximum(w - clip, 0.0).sum()) / total if total > 0 else None


def effective_size(w: Array) -> float:
    """(sum w)^2 / sum w^2 [answers]; 0 without any weight."""
    squares = float(np.square(w).sum())
    return float(w.sum()) ** 2 / squares if squares > 0 else 0.0


@dataclass(frozen=True)
class Support:
    """What the weights of one model over n answers are worth."""

    n: int
    ess: float
    ratio: float | None
    """ESS / n."""
    mean: float | None
    """1 in expectation; below it, the model shows items that the log never could."""
    max_share: float | None
    """Largest weight over the sum of weights."""
    clipped_mass: float | None
    outside: float
    """Mean probability that the model shows an item which could not be drawn [0..1]."""
    silent: float
    """Mean probability that the model shows nothing [0..1]."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def lacks(self, policy: Policy, limits: Limits) -> list[str]:
        """Every rule of support that is broken, in words. Nothing known is broken."""
        mean, ratio, share = self.mean, self.ratio, self.max_share
        if mean is None or ratio is None or share is None:
            return [f"no weight on any of {self.n} answers"]
        tests = (
            (self.ess < policy.min_ess, f"effective sample size {self.ess:.0f} < {policy.min_ess}"),
            (ratio < policy.min_ess_ratio, f"effective share {ratio:.3f} < {policy.min_ess_ratio}"),
            (
                not limits.mean_low <= mean <= limits.mean_high,
                f"mean weight {mean:.3f} outside {limits.mean_low}..{limits.mean_high}",
            ),
            (share > limits.max_share, f"one answer has {share:.3f} of the weight > {limits.max_share}"),
        )
        return [why for broken, why in tests if broken]


def support(w: Array, pi: Array, mu: Array, clip: float) -> Support:
    """Of unclipped weights w (n,), for a model with probabilities pi on a log with propensities mu, both (n, A)."""
    total, n = float(w.sum()), len(w)
    known = n > 0 and total > 0
    return Support(
        n=n,
        ess=effective_size(w),
        ratio=effective_size(w) / n if known else None,
        mean=total / n if known else None,
        max_share=float(w.max()) / total if known else None,
        clipped_mass=clipped_mass(w, clip),
        outside=float(np.where(mu > 0, 0.0, pi).sum(axis=1).mean()) if n else 0.0,
        silent=float(1 - pi.sum(axis=1).mean()) if n else 0.0,
    )
