"""Functions of sets of points, blind to their order: one block of PersLay.

    F(D) = rho( w(p) phi(p) : p = (birth, death) in D )

Points arrive as one list of valid points with the row that each belongs to, so padding cannot enter. Shapes: ``N``
points of ``B`` rows, ``H`` features of a point, ``D`` width of phi. Paper: Carriere et al., "PersLay", AISTATS 2020.
Under ``sum`` and ``mean`` the last linear map of phi is applied after pooling, which is the same number for less work.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline_lib.teacher.frame import Bars

_EPS = 1e-3
_GAUSSIANS = 16
_EXPONENT = 10.0
_WEIGHT_HIDDEN = 16
_LOW = -1e4


def listed(bars: Bars, dimension: int) -> tuple[Tensor, Tensor]:
    """The valid points of one dimension and their rows. -> (N, 2), (N,)."""
    valid = torch.arange(bars.points.shape[1], device=bars.count.device) < bars.count[:, None]  # (B, P)
    row, place = (valid & (bars.points[..., 2] == dimension)).nonzero(as_tuple=True)
    return bars.points[row, place, :2].float(), row


def views(points: Tensor) -> Tensor:
    """b, d, d - b, (b + d) / 2, b d, (d - b) / (d + b + eps). (N, 2) -> (N, 6).

    The last is bounded in [0, 1): the published d / (b + eps) explodes at every connected part, born at 0.
    """
    b, d = points.unbind(-1)
    return torch.stack([b, d, d - b, (b + d) / 2, b * d, (d - b) / (d + b + _EPS)], dim=-1)


class RationalHat(nn.Module):
    """SiLU(Linear(views)), the first layer of phi. (N, 2) -> (N, H)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.linear = nn.Linear(6, width)

    def forward(self, points: Tensor) -> Tensor:
        return F.silu(self.linear(views(points)))


class Gaussian(nn.Module):
    """exp(-|p - t_k|^2 / (2 s_k^2)) at 16 learned centres. (N, 2) -> (N, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.width = _GAUSSIANS
        self.centres = nn.Parameter(torch.rand(_GAUSSIANS, 2))
        self.log_scale = nn.Parameter(torch.full((_GAUSSIANS,), -1.0))

    def forward(self, points: Tensor) -> Tensor:
        squared = (points[:, None] - self.centres).square().sum(-1)  # (N, 16)
        exponent = -squared / (2 * (2 * self.log_scale).exp())
        return exponent.clamp(-_EXPONENT, _EXPONENT).exp()


class PointBlock(nn.Module):
    """One set per row -> one vector per row; an empty set is 0. (N, 2), row (N,), B -> (B, D)."""

    def __init__(self, width: int, phi: str, weight: str, pool: str) -> None:
        super().__init__()
        self._weight, self._pool = weight, pool
        self.point = RationalHat(width) if phi == "rational_hat" else Gaussian()
        self.mix = nn.Linear(self.point.width, width)
        if weight == "learned":
            self.importance = nn.Sequential(nn.Linear(2, _WEIGHT_HIDDEN), nn.SiLU(), nn.Linear(_WEIGHT_HIDDEN, 1))
        if pool == "attention":
            self.score = nn.Linear(width, 1)

    def forward(self, points: Tensor, row: Tensor, rows: int) -> Tensor:
        features, w = self.point(points), self.weigh(points)[:, None]  # (N, H), (N, 1)
        if self._pool in ("sum", "mean"):
            return self._linear_pool(features, w, row, rows)
        phi = w * self.mix(features)  # (N, D)
        return _largest(phi, row, rows) if self._pool == "max" else self._attend(phi, row, rows)

    def weigh(self, points: Tensor) -> Tensor:
        """w(p): |d - b|, 1 or learned. (N, 2) -> (N,)."""
        if self._weight == "learned":
            return F.softplus(self.importance(points)).squeeze(-1)
        lifetime = (points[:, 1] - points[:, 0]).abs()
        return lifetime if self._weight == "persistence" else torch.ones_like(lifetime)

    def _linear_pool(self, features: Tensor, w: Tensor, row: Tensor, rows: int) -> Tensor:
        total, mass = _summed(w * features, row, rows), _summed(w, row, rows)  # (B, H), (B, 1)
        pooled = F.linear(total, self.mix.weight) + mass * self.mix.bias  # (B, D)
        return pooled / _counts(row, rows).clamp(min=1) if self._pool == "mean" else pooled

    def _attend(self, phi: Tensor, row: Tensor, rows: int) -> Tensor:
        score = self.score(phi)  # (N, 1)
        share = (score - _largest(score.detach(), row, rows)[row]).exp()
        return _summed(share * phi, row, rows) / _summed(share, row, rows).clamp(min=1)  # the largest share is 1


def _summed(values: Tensor, row: Tensor, rows: int) -> Tensor:
    """(N, K) -> (B, K)."""
    return torch.zeros(rows, values.shape[1], dtype=values.dtype, device=values.device).index_add(0, row, values)


def _counts(row: Tensor, rows: int) -> Tensor:
    return torch.bincount(row, minlength=rows)[:, None]


def _largest(values: Tensor, row: Tensor, rows: int) -> Tensor:
    low = torch.full((rows, values.shape[1]), _LOW, dtype=values.dtype, device=values.device)
    found = low.scatter_reduce(0, row[:, None].expand_as(values), values, "amax")
    return torch.where(_counts(row, rows) > 0, found, 0.0)
