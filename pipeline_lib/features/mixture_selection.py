"""How many clusters? A report for the human who sets ``mixture.clusters``; no run changes it by itself.

Source: features.md 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import silhouette_score

from pipeline_lib.features.columns import Floats
from pipeline_lib.features.mixture import fitted_mixture
from pipeline_lib.settings.feature_groups.mixture import Mixture

COUNTS = (5, 10, 15, 20, 25, 30)
FAR = 3
"""Clusters by which the best count may differ from the policy's before somebody should look."""
_SILHOUETTE_ROWS = 2_000


@dataclass(frozen=True)
class Candidate:
    clusters: int
    bic: float
    """-2 ln L + parameters x ln n; smaller is better."""
    silhouette: float | None
    """[-1, 1] of the likeliest clusters on at most 2,000 rows; None: all rows fell into one."""


@dataclass(frozen=True)
class Selection:
    candidates: tuple[Candidate, ...]
    configured: int

    @property
    def best(self) -> int:
        """Clusters with the smallest BIC."""
        return min(self.candidates, key=lambda candidate: candidate.bic).clusters

    @property
    def far(self) -> bool:
        """The policy's number is not near the best one: a warning."""
        return abs(self.best - self.configured) > FAR


def selection(z: Floats, own: Mixture, seed: int, counts: Sequence[int] = COUNTS) -> Selection:
    """One fit of the inputs [n, D] per count."""
    return Selection(tuple(_candidate(z, clusters, own, seed) for clusters in counts), own.clusters)


def _candidate(z: Floats, clusters: int, own: Mixture, seed: int) -> Candidate:
    model = fitted_mixture(z, clusters, own, seed)
    rows = z[:: max(1, -(-len(z) // _SILHOUETTE_ROWS))]
    label = model.predict(rows)
    score = float(silhouette_score(rows, label)) if len(np.unique(label)) > 1 else None
    return Candidate(clusters, float(model.bic(z)), score)
