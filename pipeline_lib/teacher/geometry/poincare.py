"""The Poincare ball of curvature -c (radius 1 / sqrt(c)): maps at the origin, distance, midpoint. The origin is the
root of a tree, the rim holds its leaves.

    exp0(v) = tanh(sqrt(c)|v|) v / (sqrt(c)|v|),    log0(y) = artanh(sqrt(c)|y|) y / (sqrt(c)|y|)
    d(x, y) = arcosh(1 + 2c|x - y|^2 / ((1 - c|x|^2)(1 - c|y|^2))) / sqrt(c)
    m       = 1/2 (x) [ sum w l x / sum w (l - 1) ],    l = 2 / (1 - c|x|^2)

Papers: Ganea et al., "Hyperbolic Neural Networks", NeurIPS 2018; Ungar, "A Gyrovector Space Approach to Hyperbolic
Geometry", 2009 (the midpoint). Points are (..., D) tensors, float32 or float64: callers hold autocast off. A weighted
mean of ball coordinates is no mean, and a linear layer may read tangent vectors only. Source: teacher.md 5.3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_NORM_FLOOR = 1e-7
_ARCOSH_FLOOR = 1e-7
_TANH_BOUND = 15.0
_RIM = {torch.float32: 1 - 4e-3, torch.float64: 1 - 1e-5}


def rim(dtype: torch.dtype) -> float:
    """Largest sqrt(c)|y| whose artanh and gradient are still sound in a precision."""
    return _RIM[dtype]


def proj(y: Tensor, c: float = 1.0) -> Tensor:
    """Pull points that left the ball, or stand on its rim, back inside. (..., D) -> (..., D)."""
    most = rim(y.dtype) / math.sqrt(c)
    return y * (most / _norm(y)).clamp(max=1.0)


def exp0(v: Tensor, c: float = 1.0) -> Tensor:
    """Tangent vector at the origin -> point; a long one may round to the rim, so ``proj`` follows. (..., D)."""
    length = math.sqrt(c) * _norm(v)
    return v * (length.clamp(max=_TANH_BOUND).tanh() / length)


def log0(y: Tensor, c: float = 1.0) -> Tensor:
    """Point -> tangent vector at the origin. (..., D) -> (..., D)."""
    length = math.sqrt(c) * _norm(y)
    return y * (length.clamp(max=rim(y.dtype)).atanh() / length)


def distance(x: Tensor, y: Tensor, c: float = 1.0) -> Tensor:
    """Geodesic distance; that of a point to itself is not 0 but arcosh(1 + 1e-7). (..., D), (..., D) -> (...)."""
    apart, inside = (x - y).square().sum(-1), _room(x, c) * _room(y, c)
    stretch = (2 * c * apart / inside.squeeze(-1)).clamp(min=_ARCOSH_FLOOR)  # arcosh(1 + s), without losing a small s
    return torch.log1p(stretch + (stretch * (stretch + 2)).sqrt()) / math.sqrt(c)


def gyromidpoint(points: Tensor, weights: Tensor, c: float = 1.0) -> Tensor:
    """Weighted mean of points; the origin without weight. (..., N, D), (..., N) >= 0 -> (..., D)."""
    factor = 2 / _room(points, c)  # (..., N, 1)
    mass = (weights[..., None] * (factor - 1)).sum(-2)
    mean = (weights[..., None] * factor * points).sum(-2) / mass.clamp(min=_NORM_FLOOR)
    inside = (1 - c * mean.square().sum(-1, keepdim=True)).clamp(min=0)
    return mean / (1 + inside.sqrt())  # 1/2 (x) s = s / (1 + sqrt(1 - c|s|^2))


def _norm(x: Tensor) -> Tensor:
    """Never 0, and with a finite gradient at 0. (..., D) -> (..., 1)."""
    return x.square().sum(-1, keepdim=True).clamp(min=_NORM_FLOOR**2).sqrt()


def _room(x: Tensor, c: float) -> Tensor:
    """1 - c|x|^2, how far a point is from the rim. (..., D) -> (..., 1)."""
    return (1 - c * x.square().sum(-1, keepdim=True)).clamp(min=1 - rim(x.dtype))
