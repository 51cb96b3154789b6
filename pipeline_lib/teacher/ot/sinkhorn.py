"""Entropic optimal transport between rows of distributions on shared points, in the log domain.

Shapes: mu (B, 1, S) and nu (1, R, S) broadcast to B x R pairs; cost (S, S), symmetric.

    u <- log mu - LSE_j(v_j - C_ij / eps),   v <- log nu - LSE_i(u_i - C_ij / eps)

All pairs share the kernel K = exp(-C / eps), so a log-sum-exp is m + log(exp(v - m) K): memory O(B R S) and not
O(B R S^2). The potentials are iterated without gradient; at the optimum the envelope theorem gives the derivatives,
dOT/dmu = f, dOT/dnu = g, dOT/dC = P, so nothing is unrolled. Source: teacher.md section 5.7.
"""

from __future__ import annotations

import torch
from torch import Tensor

_FLOOR = 1e-6


def ground_cost(points: Tensor) -> Tensor:
    """Squared distances scaled to [0, 1]. (S, D) -> (S, S), zero diagonal."""
    squared = (points[:, None] - points).square().sum(-1)
    return squared / squared.max().clamp(min=_FLOOR)


def divergence(mu: Tensor, nu: Tensor, cost: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Debiased S(mu_b, nu_r) >= 0. (B, S), (R, S) -> (B, R)."""
    cross = transport(mu[:, None], nu[None], cost, epsilon, iterations)  # (B, R)
    own = transport(mu[:, None], mu[:, None], cost, epsilon, iterations)  # (B, 1)
    theirs = transport(nu[None], nu[None], cost, epsilon, iterations)  # (1, R)
    return cross - 0.5 * own - 0.5 * theirs


def transport(mu: Tensor, nu: Tensor, cost: Tensor, epsilon: float, iterations: int) -> Tensor:
    """OT = <f, mu> + <g, nu>, with its envelope gradients. Broadcast (..., S) -> (...)."""
    mu, nu = mu.clamp(min=_FLOOR), nu.clamp(min=_FLOOR)
    with torch.no_grad():
        kernel = torch.exp(-cost / epsilon)
        u, v = potentials(mu.log(), nu.log(), kernel, iterations)
    value = epsilon * ((u - mu.detach().log()) * mu + (v - nu.detach().log()) * nu).sum(-1)
    # <P, C> with P = exp(u) K exp(v) held fixed: adds nothing to the value and P to the gradient of the cost.
    moved = ((u.exp() @ (kernel * cost)) * v.exp()).sum(-1)
    return value + moved - moved.detach()


def potentials(log_mu: Tensor, log_nu: Tensor, kernel: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Scaled potentials u, v with plan exp(u_i) K_ij exp(v_j). -> (..., S) each."""
    v = torch.zeros_like(log_mu + log_nu)
    u = v
    for _ in range(iterations):
        u = log_mu - _log_sum(v, kernel)
        v = log_nu - _log_sum(u, kernel)
    return u, v


def _log_sum(potential: Tensor, kernel: Tensor) -> Tensor:
    """LSE_j(potential_j - C_ij / eps), for all i. (..., S) -> (..., S)."""
    top = potential.max(-1, keepdim=True).values
    return top + torch.log((potential - top).exp() @ kernel)
