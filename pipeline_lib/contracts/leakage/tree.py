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
    for level in range(depth):
        feature, cut = _best_splits(binned, y, node, 2**level, bins)
        features.append(feature)
        cuts.append(cut)
        node = _descend(binned, node, feature, cut)
    return Tree(features, cuts, _means(node, y, 2**depth))


def out_of_fold(binned: Ints, x: Floats, y: Floats, fold: Ints, depth: int, bins: int) -> tuple[Floats, Floats]:
    """Predictions of tree and least squares on rows they were not fitted on, each [n, K]."""
    by_tree, by_line = np.zeros_like(y), np.zeros_like(y)
    for k in np.unique(fold):
        rest, held = fold != k, fold == k
        by_tree[held] = grow(binned[rest], y[rest], depth, bins).predict(binned[held])
        by_line[held] = _line(x[rest], y[rest], x[held])
    return by_tree, by_line


def _best_splits(binned: Ints, y: Floats, node: Ints, nodes: int, bins: int) -> tuple[Ints, Ints]:
    """Feature and cut (go left when bin <= cut) with the largest gain in every node; cut = bins - 1 splits nothing."""
    width = binned.shape[1]
    place = ((node[:, None] * width + np.arange(width)) * bins + binned).ravel()
    size = nodes * width * bins
    count = np.bincount(place, minlength=size).reshape(nodes, width, bins).cumsum(axis=2)
    total = count[:, :, -1:]
    gain = np.zeros(count.shape)
    for k in range(y.shape[1]):
        left = np.bincount(place, weights=np.repeat(y[:, k], width), minlength=size)
        left = left.reshape(nodes, width, bins).cumsum(axis=2)
        right = left[:, :, -1:] - left
        gain += left**2 / np.maximum(count, 1) + right**2 / np.maximum(total - count, 1)
        gain -= left[:, :, -1:] ** 2 / np.maximum(total, 1)
    gain[(count < MIN_LEAF) | (total - count < MIN_LEAF)] = 0.0
    best = gain.reshape(nodes, -1).argmax(axis=1)
    useful = gain.reshape(nodes, -1)[np.arange(nodes), best] > 1e-9
    return np.where(useful, best // bins, 0), np.where(useful, best % bins, bins - 1)


def _descend(binned: Ints, node: Ints, feature: Ints, cut: Ints) -> Ints:
    right = binned[np.arange(len(binned)), feature[node]] > cut[node]
    return 2 * node + right


def _means(node: Ints, y: Floats, leaves: int) -> Floats:
    count = np.bincount(node, minlength=leaves)
    sums = np.stack([np.bincount(node, weights=y[:, k], minlength=leaves) for k in range(y.shape[1])], axis=1)
    return np.where(count[:, None] > 0, sums / np.maximum(count, 1)[:, None], y.mean(axis=0))


def _line(x: Floats, y: Floats, new: Floats) -> Floats:
    """Least squares with an intercept, standardised, with a ridge just large enough to be solvable."""
    mean, std = x.mean(axis=0), x.std(axis=0)
    std = np.where(std > 0, std, 1.0)
    z, centre = (x - mean) / std, y.mean(axis=0)
    gram = z.T @ z / len(z) + 1e-6 * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, z.T @ (y - centre) / len(z))
    predicted: Floats = (new - mean) / std @ weights + centre
    return predicted
