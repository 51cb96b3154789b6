"""Two small models that ask whether the features rebuild a label: a histogram tree and least squares.

Both are exact functions of their input without a random draw; folds are by customer. The tree splits on the
largest drop of squared error over the one-hot label, which for classes is the Gini gain. Source: Breiman et al.,
"Classification and Regression Trees", 1984.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
MIN_LEAF = 5
RIDGE = 1e-6
WIDE = 200
"""Columns that are looked at below the root; of more, those whose best first split gains most."""


@dataclass(frozen=True)
class Tree:
    """A full binary tree: per level the feature and bin cut of every node; leaf values [2^depth, K]."""

    features: list[Ints]
    cuts: list[Ints]
    values: Floats

    def predict(self, binned: Ints) -> Floats:
        """Leaf means [n, K] of binned rows [n, F]."""
        node = np.zeros(len(binned), dtype=np.int64)
        for feature, cut in zip(self.features, self.cuts, strict=True):
            node = _descend(binned, node, feature, cut)
        return self.values[node]


def grow(binned: Ints, y: Floats, depth: int, bins: int) -> Tree:
    """Fit on binned features [n, F] with values below ``bins`` and targets [n, K]."""
    node = np.zeros(len(binned), dtype=np.int64)
    features, cuts = [], []
    kept, columns = binned, np.arange(binned.shape[1])
    for level in range(depth):
        feature, cut, gains = _best_splits(kept, y, node, 2**level, bins)
        features.append(columns[feature])
        cuts.append(cut)
        node = _descend(kept, node, feature, cut)
        if level == 0 and len(columns) > WIDE:
            columns = np.sort(np.argsort(-gains, kind="stable")[:WIDE])
            kept = np.ascontiguousarray(binned[:, columns])
    return Tree(features, cuts, _means(node, y, 2**depth))


def tree_out_of_fold(binned: Ints, y: Floats, fold: Ints, depth: int, bins: int) -> Floats:
    """Predictions of a tree on rows that it was not fitted on [n, K]."""
    out = np.zeros_like(y)
    for k in np.unique(fold):
        rest, held = fold != k, fold == k
        out[held] = grow(binned[rest], y[rest], depth, bins).predict(binned[held])
    return out


def line_out_of_fold(x: Floats, y: Floats, fold: Ints) -> Floats:
    """The same of least squares with an intercept and a ridge just large enough to be solvable [n, K].

    Columns are scaled by all rows, which no prediction depends on; the sums of a fold are taken off the whole.
    """
    std = x.std(axis=0)
    z = np.hstack([(x - x.mean(axis=0)) / np.where(std > 0, std, 1.0), np.ones((len(x), 1))])
    gram, target, out = z.T @ z, z.T @ y, np.zeros_like(y)
    for k in np.unique(fold):
        held = z[fold == k]
        rows = len(z) - len(held)
        left = (gram - held.T @ held) / rows + RIDGE * np.eye(z.shape[1])
        out[fold == k] = held @ np.linalg.solve(left, (target - held.T @ y[fold == k]) / rows)
    return out


def _best_splits(binned: Ints, y: Floats, node: Ints, nodes: int, bins: int) -> tuple[Ints, Ints, Floats]:
    """Feature and cut (go left when bin <= cut) with the largest gain in every node; cut = bins - 1 splits nothing.

    Third, the largest gain of every feature in any node [F].
    """
    count, sums = _histograms(binned, y, node, nodes, bins)
    total = count[:, :, -1:]
    right = total - count
    gain = np.zeros(count.shape)
    for left in sums:
        whole = left[:, :, -1:]
        gain += left**2 / np.maximum(count, 1) + (whole - left) ** 2 / np.maximum(right, 1)
        gain -= whole**2 / np.maximum(total, 1)
    gain[(count < MIN_LEAF) | (right < MIN_LEAF)] = 0.0
    flat = gain.reshape(nodes, -1)
    best = flat.argmax(axis=1)
    useful = flat[np.arange(nodes), best] > 1e-9
    return np.where(useful, best // bins, 0), np.where(useful, best % bins, bins - 1), gain.max(axis=(0, 2))


def _histograms(binned: Ints, y: Floats, node: Ints, nodes: int, bins: int) -> tuple[Floats, list[Floats]]:
    """Rows and sums of every target at or below each bin, per node and feature: [nodes, F, bins] each.

    One-hot targets are counted in one pass; rows of no class are counted too.
    """
    width, classes = binned.shape[1], y.shape[1]
    place = (node[:, None] * width + np.arange(width)) * bins + binned
    shape = (nodes, width, bins)
    if not _one_hot(y):
        count = np.bincount(place.ravel(), minlength=nodes * width * bins).reshape(shape).cumsum(axis=2)
        parts = [np.bincount(place.ravel(), np.repeat(y[:, k], width), nodes * width * bins) for k in range(classes)]
        return count.astype(np.float64), [part.reshape(shape).cumsum(axis=2) for part in parts]
    code = np.where(y.any(axis=1), y.argmax(axis=1), classes)
    size = nodes * width * bins * (classes + 1)
    counted = np.bincount((place * (classes + 1) + code[:, None]).ravel(), minlength=size).astype(np.float64)
    summed = counted.reshape(*shape, classes + 1).cumsum(axis=2)
    return summed.sum(axis=3), [summed[..., k] for k in range(classes)]


def _one_hot(y: Floats) -> bool:
    return bool(((y == 0) | (y == 1)).all() and (y.sum(axis=1) <= 1).all())


def _descend(binned: Ints, node: Ints, feature: Ints, cut: Ints) -> Ints:
    right = binned[np.arange(len(binned)), feature[node]] > cut[node]
    return 2 * node + right


def _means(node: Ints, y: Floats, leaves: int) -> Floats:
    count = np.bincount(node, minlength=leaves)
    sums = np.stack([np.bincount(node, weights=y[:, k], minlength=leaves) for k in range(y.shape[1])], axis=1)
    return np.where(count[:, None] > 0, sums / np.maximum(count, 1)[:, None], y.mean(axis=0))
