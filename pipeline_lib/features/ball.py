"""The Poincare ball of curvature 1: distance, the maps at the origin, and the mean.

Points are float64 arrays [..., dim] with a Euclidean norm below 1. Source: features.md 8.3; Ungar, "A Gyrovector
Space Approach to Hyperbolic Geometry", 2009. The midpoint is computed in Lorentz coordinates, where it is a plain
sum: the weighted mean of Poincare coordinates is not the mean (teacher.md 5.3).
"""

from __future__ import annotations

import numpy as np

from pipeline_lib.features.columns import Floats

RIM = 1.0 - 1e-5
"""Largest norm of a point in float64. Source: teacher.md 5.3 (numerics)."""


def distance(x: Floats, y: Floats) -> Floats:
    """arcosh(1 + 2 |x - y|^2 / ((1 - |x|^2)(1 - |y|^2))) [...], broadcast over the leading axes.

    Sums run over one coordinate at a time, so a value depends on its own pair and never on the size of the batch.
    """
    apart, own, other = (_zeros(x, y) for _ in range(3))
    for i in range(x.shape[-1]):
        apart += (x[..., i] - y[..., i]) ** 2
        own += x[..., i] ** 2
        other += y[..., i] ** 2
    found: Floats = np.arccosh(1.0 + 2.0 * apart / ((1.0 - own) * (1.0 - other)))
    return found


def origin_distance(x: Floats) -> Floats:
    """2 artanh(|x|) [...]."""
    found: Floats = 2.0 * np.arctanh(norm(x))
    return found


def exp0(v: Floats) -> Floats:
    """Tangent vector at the origin -> point: tanh(|v|) v / |v| [..., dim]."""
    length = norm(v)[..., None]
    return np.asarray(v * _ratio(np.tanh(length), length))


def log0(y: Floats) -> Floats:
    """Point -> tangent vector at the origin: artanh(|y|) y / |y| [..., dim]."""
    length = norm(y)[..., None]
    return np.asarray(y * _ratio(np.arctanh(length), length))


def lorentz(x: Floats) -> Floats:
    """Points of the ball -> (l x, l - 1) with l = 2 / (1 - |x|^2) [..., dim + 1]: space first, time last."""
    factor = 2.0 / (1.0 - norm(x) ** 2)[..., None]
    return np.concatenate([factor * x, factor - 1.0], axis=-1)


def midpoint(total: Floats) -> Floats:
    """Gyromidpoint from the weighted sum of ``lorentz`` points [..., dim + 1] -> [..., dim]; NaN without weight.

    half(s) = tanh(artanh(|s|) / 2) s / |s| = s / (1 + sqrt(1 - |s|^2)) with s = sum w l x / sum w (l - 1).
    """
    time = np.where(total[..., -1:] > 0, total[..., -1:], np.nan)
    s = total[..., :-1] / time
    squares = np.minimum(norm(s) ** 2, 1.0)[..., None]
    return np.asarray(s / (1.0 + np.sqrt(1.0 - squares)))


def projected(x: Floats) -> Floats:
    """Points at or beyond the rim drawn back to it [..., dim]."""
    length = norm(x)[..., None]
    return np.asarray(np.where(length > RIM, x * _ratio(np.full_like(length, RIM), length), x))


def norm(x: Floats) -> Floats:
    """Euclidean norm [...], one coordinate at a time: the same number in any batch."""
    total = np.zeros(x.shape[:-1])
    for i in range(x.shape[-1]):
        total += x[..., i] ** 2
    return np.asarray(np.sqrt(total))


def _zeros(x: Floats, y: Floats) -> Floats:
    return np.zeros(np.broadcast_shapes(x.shape[:-1], y.shape[:-1]))


def _ratio(top: Floats, bottom: Floats) -> Floats:
    """Top / bottom, 1 at the origin (the limit of both maps there)."""
    out: Floats = np.ones_like(bottom)
    np.divide(top, bottom, out=out, where=bottom > 0)
    return out
