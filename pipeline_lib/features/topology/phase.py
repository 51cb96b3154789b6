"""How the shape of a customer's spending changed within a year: phase_transition.

The window is split at its middle. Both halves get the same number of points, because distances between diagrams grow
with it; the four quarters of the window are clouds of their own. Distances are in units of the train 95th percentile
of the halves' finite H0 deaths. Source: features.md 7.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline_lib.features.columns import Floats, Values, nan_where
from pipeline_lib.features.generator import Arrays
from pipeline_lib.features.stream import Window
from pipeline_lib.features.topology.bars import Bars
from pipeline_lib.features.topology.cloud import MIN_POINTS, Ints, clouds, part, sampled
from pipeline_lib.features.topology.matching import bottleneck, bottleneck_h0, wasserstein, wasserstein_h0
from pipeline_lib.features.topology.rips import mean_edges, persistence

NAMES = (
    "pt_W1_distance_h0", "pt_W1_distance_h1", "pt_total_topological_change", "pt_max_structural_shift",
    "pt_transition_probability", "pt_imminence", "pt_frequency", "pt_direction", "pt_magnitude", "pt_phase_confidence",
)  # fmt: skip
PHASES = ("Stable", "Transitioning", "Growing", "Shrinking", "Chaotic")
SLOPE = 2.0
EPS = 1e-9
QUARTERS = 4


@dataclass(frozen=True)
class Halves:
    """Diagrams of the earlier and the later half of every row, in raw or normalised units."""

    early: tuple[Bars, Bars]
    """H0 and H1."""
    late: tuple[Bars, Bars]
    points: Ints
    """Points in each half [R]; 0 where a half has fewer than 5 events."""
    quarters: Floats
    """Mean edge of each quarter's minimum spanning tree, oldest first [R, 4]; NaN with fewer than two points."""

    def normalised(self, scale: float) -> Halves:
        early, late = ((h0.normalised(scale), h1.normalised(scale)) for h0, h1 in (self.early, self.late))
        return Halves(early, late, self.points, self.quarters)

    def deaths(self) -> Floats:
        """Finite H0 deaths of all halves."""
        return np.concatenate([self.early[0].death, self.late[0].death])


def halves(window: Window, half_points: int, quarter_points: int, scales: Arrays) -> Halves:
    """Diagrams of the window's halves and the mean edges of its quarters."""
    middle = window.days // 2
    late, early = part(window, 0, middle), part(window, middle, window.days)
    points = np.minimum(np.minimum(late.counts, early.counts), half_points)
    points = np.where(points >= MIN_POINTS, points, 0)
    early_cloud, late_cloud = (clouds(sampled(half, points), half_points, scales) for half in (early, late))
    own = persistence(early_cloud, MIN_POINTS), persistence(late_cloud, MIN_POINTS)
    return Halves(*own, points, _quarters(window, np.where(points > 0, quarter_points, 0), quarter_points, scales))


def _quarters(window: Window, cap: Ints, most: int, scales: Arrays) -> Floats:
    edge = [window.days * q // QUARTERS for q in range(QUARTERS, -1, -1)]
    parts = [part(window, newest, oldest) for oldest, newest in zip(edge[:-1], edge[1:], strict=True)]
    return np.stack([mean_edges(clouds(sampled(quarter, cap), most, scales)) for quarter in parts], axis=1)


def distances(both: Halves, half_points: int) -> tuple[Floats, Floats, Floats]:
    """W1 of H0, W1 of H1 and the larger of the two bottleneck distances [R]; NaN where a half is too thin."""
    (early_h0, early_h1), (late_h0, late_h1) = both.early, both.late
    a, b = early_h0.padded(half_points - 1), late_h0.padded(half_points - 1)
    far, shift = np.zeros(len(early_h1)), bottleneck_h0(a, b)
    for row in np.flatnonzero(early_h1.counts + late_h1.counts).tolist():
        x, y = early_h1.of(row), late_h1.of(row)
        far[row] = wasserstein(x, y)
        # With every point on the diagonal the bottleneck is half the longest bar: most rows need no search.
        if max(np.diff(x).max(initial=0.0), np.diff(y).max(initial=0.0)) > 2 * shift[row]:
            shift[row] = bottleneck(x, y, shift[row])
    thin = both.points == 0
    return nan_where(thin, wasserstein_h0(a, b)), nan_where(thin, far), nan_where(thin, shift)


def fit_phase(raw: Halves, half_points: int, scale_quantile: float) -> Arrays:
    """scale, tau (median of the change) and step (third quartile of a quarter's step) from train rows, one each."""
    scale = float(np.quantile(raw.deaths(), scale_quantile))
    w0, w1, _ = distances(raw.normalised(scale), half_points)
    steps = np.abs(np.diff(raw.quarters, axis=1))
    step = np.nanquantile(steps, 0.75) if (~np.isnan(steps)).any() else np.nan
    return {"scale": np.array([scale]), "tau": np.array([np.nanmedian(w0 + w1)]), "step": np.array([step])}


def columns(raw: Halves, learnt: Arrays, half_points: int) -> Values:
    """The ten columns; those of the quarters are NaN where a quarter has fewer than two points."""
    both = raw.normalised(float(learnt["scale"][0]))
    w0, w1, shift = distances(both, half_points)
    change = w0 + w1
    before, after = (h0.total() + h1.total() for h0, h1 in (both.early, both.late))
    probability = transition_probability(change, float(learnt["tau"][0]))
    direction = (after - before) / (after + before + EPS)
    steps = np.abs(np.diff(raw.quarters, axis=1))
    frequency = np.where(np.isnan(steps), np.nan, steps > learnt["step"][0]).mean(axis=1)
    scores = phase_scores(probability, direction, frequency, raw.quarters)
    ordered = np.sort(scores, axis=1)  # NaN last, so an undefined score makes the ratio undefined
    values = (
        w0, w1, change, shift, probability, steps[:, -1] / (steps.sum(axis=1) + EPS), frequency, direction,
        change / (after + before + EPS), 1.0 - ordered[:, -2] / ordered[:, -1],
    )  # fmt: skip
    return {name: nan_where(raw.points == 0, value) for name, value in zip(NAMES, values, strict=True)}


def transition_probability(change: Floats, tau: float) -> Floats:
    return 1.0 / (1.0 + np.exp(-SLOPE * (change - tau)))


def phase_scores(probability: Floats, direction: Floats, frequency: Floats, quarters: Floats) -> Floats:
    """How much each of ``PHASES`` applies [R, 5]; the arg max is the phase's name in reason texts."""
    mean = quarters.mean(axis=1)
    spread = np.divide(quarters.std(axis=1, ddof=1), mean, out=np.zeros(len(mean)), where=mean != 0)
    chaotic = np.minimum(frequency * spread, 1.0)
    grows, shrinks = np.maximum(direction, 0.0), np.maximum(-direction, 0.0)
    return np.stack([1.0 - probability, probability, grows, shrinks, chaotic], axis=1)


def phase_of(scores: Floats) -> npt.NDArray[np.int64]:
    """Index into ``PHASES`` [R]; -1 where the scores are not defined."""
    defined = ~np.isnan(scores).any(axis=1)
    return np.where(defined, np.argmax(np.nan_to_num(scores), axis=1), -1)
