"""Association of every feature with a label at once: arrays in, one number per feature out.

X is [n, F], y is [n], Y is one-hot [n, K]. A constant column has association 0: it can carry nothing.
"""

from __future__ import annotations

from math import erfc, sqrt

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline_lib.contracts.population import stability_index

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def without_nan(x: npt.NDArray[np.float32]) -> Floats:
    """NaN becomes one value below all others of its column: being undefined may itself carry the label."""
    values = x.astype(np.float64)
    low = np.nan_to_num(np.nanmin(np.where(np.isnan(values), np.inf, values), axis=0), posinf=0.0)
    filled: Floats = np.where(np.isnan(values), low[None, :] - 1.0, values)
    return filled


def ranks(x: Floats) -> Floats:
    """Average ranks 1..n of every column [n, F]."""
    columns = pl.DataFrame(x, orient="row").select(pl.all().rank("average"))
    ranked: Floats = columns.to_numpy().astype(np.float64)
    return ranked


def ranks_within(x: Floats, order: npt.NDArray[np.int32], keep: npt.NDArray[np.bool_]) -> Floats:
    """Average ranks of the rows ``keep`` of every column, from the order of all rows: sorts nothing again.

    Args:
        x: values without NaN [n, F].
        order: rows of each column in ascending order [n, F].
        keep: the rows wanted [n].
    """
    place = np.cumsum(keep) - 1
    out = np.empty((int(keep.sum()), x.shape[1]), order="F")
    for column in range(x.shape[1]):
        rows = order[:, column]
        rows = rows[keep[rows]]
        values = x[rows, column]
        starts = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1, [len(rows)]])
        average = (starts[:-1] + starts[1:] + 1) / 2
        out[place[rows], column] = np.repeat(average, np.diff(starts))
    return out


def order_of(x: Floats) -> npt.NDArray[np.int32]:
    """Rows of every column in ascending order [n, F], column by column in memory."""
    ascending: npt.NDArray[np.int32] = np.argsort(x.T, axis=1, kind="stable").astype(np.int32).T
    return ascending


def one_hot(y: Ints, classes: Ints) -> Floats:
    hot: Floats = (y[:, None] == classes[None, :]).astype(np.float64)
    return hot


def pearson(x: Floats, y: Floats) -> Floats:
    """Correlation of every column of X with every column of y [F, K]."""
    return correlation_of(standard(x), standard(y))


def correlation_of(x: Floats, y: Floats) -> Floats:
    """The same of standardised columns [F, K]."""
    found: Floats = x.T @ y / len(x)
    return found


def auc(ranked: Floats, y: Floats) -> Floats:
    """ROC-AUC of every column against every class, the better direction [F, K]. Source: Mann-Whitney U."""
    positives = y.sum(axis=0)
    negatives = len(y) - positives
    u = ranked.T @ y - positives * (positives + 1) / 2
    both = positives * negatives
    area = np.divide(u, both[None, :], out=np.full(u.shape, 0.5), where=both[None, :] > 0)
    better: Floats = np.maximum(area, 1 - area)
    return better


def correlation_ratio(z: Floats, y: Floats) -> Floats:
    """Eta: square root of the share of a standardised column's variance that lies between the classes [F]."""
    count = y.sum(axis=0)
    means = np.divide(z.T @ y, count, out=np.zeros((z.shape[1], y.shape[1])), where=count > 0)
    eta: Floats = np.sqrt(np.clip((means**2 * count).sum(axis=1) / len(z), 0.0, 1.0))
    return eta


def quantile_bins(ranked: Floats, bins: int) -> Ints:
    """Bin number by rank [n, F]; equal values share a bin."""
    return np.minimum(((ranked - 0.5) / len(ranked) * bins).astype(np.int64), bins - 1)


def information_share(binned: Ints, bins: int, y: Floats) -> Floats:
    """I(x; y) / H(y) per column, corrected for the bias of small counts (Miller-Madow) [F]."""
    n, classes = y.shape
    code = y.argmax(axis=1)
    marginal = y.mean(axis=0)
    entropy = -np.sum(marginal[marginal > 0] * np.log(marginal[marginal > 0]))
    if entropy <= 0:
        return np.zeros(binned.shape[1])
    out = np.empty(binned.shape[1])
    for i in range(binned.shape[1]):
        joint = np.bincount(binned[:, i] * classes + code, minlength=bins * classes).reshape(bins, classes) / n
        x = joint.sum(axis=1)
        seen = joint > 0
        expected = np.outer(x, marginal)
        found = np.sum(joint[seen] * np.log(joint[seen] / expected[seen]))
        bias = (seen.sum() - (x > 0).sum() - (marginal > 0).sum() + 1) / (2 * n)
        out[i] = max(found - max(bias, 0.0), 0.0) / entropy
    return out


def spearman(x: Floats, y: Floats) -> float:
    """Rank correlation of two vectors; 0 when one is constant."""
    both = ranks(np.stack([x, y], axis=1))
    return float(pearson(both[:, :1], both[:, 1:])[0, 0])


def two_sided_p(z: float) -> float:
    """Probability of a standard normal at least as far from 0."""
    return erfc(abs(z) / sqrt(2))


def auc_error(positives: int, negatives: int) -> float:
    """Standard error of an AUC when nothing tells the classes apart. Source: variance of Mann-Whitney U."""
    return sqrt((positives + negatives + 1) / (12 * positives * negatives))


def standard(x: Floats) -> Floats:
    """Columns with mean 0 and variance 1; a constant one is 0 [n, F]."""
    centred = x - x.mean(axis=0)
    scale = np.sqrt((centred**2).mean(axis=0))
    out: Floats = np.zeros_like(centred)
    np.divide(centred, scale, out=out, where=scale > 1e-12 * (1 + np.abs(x).max(axis=0)))
    return out


def psi(before: Floats, after: Floats, bins: int) -> float:
    """Population stability index over quantile bins of ``before``, undefined values a bin of their own [>= 0].

    Half a row is added to every bin, so that an empty one counts without being infinite; what two samples of one law
    differ by on average, (bins - 1)(1/n + 1/m), is taken off. Source: Yurdakul, 2018 (PSI is n times chi-squared).
    """
    known = np.sort(before[~np.isnan(before)])
    if not len(known) or not len(after):
        return 0.0
    edges = np.unique(known[(np.arange(1, bins) * len(known)) // bins])

    def shares(values: Floats) -> Floats:
        place = np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="left"))
        counts = np.bincount(place, minlength=len(edges) + 2) + 0.5
        share: Floats = counts / counts.sum()
        return share

    a, b = shares(before), shares(after)
    chance = len(edges) * (1 / len(before) + 1 / len(after))
    return max(stability_index(a, b) - chance, 0.0)
