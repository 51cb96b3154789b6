"""Reconciling what binary, multiclass and regression tasks want from the shared experts.

The gradients of the three kinds with respect to the experts' outputs, not their parameters: a few vectors of the
batch instead of copies of the network. Only these are reconciled. Auxiliary losses, gates, baskets and towers keep
their own gradients, and the weights of the losses are in the groups already. Off in production: an ablation.
Source: teacher.md section 13.

UPGrad, CAGrad and Nash-MTL need the K x K Gram matrix only, K <= 3, where their convex programmes are solved exactly
face by face (Nash: by Newton); the solvers that libraries use for the general case are under the GPL.
Gradients that vanish take no part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations

import torch
from torch import Tensor

from pipeline_lib.errors import SettingsError
from pipeline_lib.teacher.layers import in_float32

_CAGRAD_RADIUS = 0.4  # c of the paper's multi-task experiments
_RIDGE = 1e-9  # of the mean diagonal: keeps collinear gradients solvable


def reconciled(groups: Mapping[str, Tensor], shared: Tensor, method: str, generator: torch.Generator) -> Tensor:
    """Gradient for ``shared`` (B, D), a leaf the groups' losses were computed from. -> (B, D) float32.

    ``groups`` are the weighted losses, summed by kind of task.

    Graphs are kept, so that the caller can still go backward for everything downstream. Weights are scaled to the
    sum of the groups, not their mean, so that a method changes the direction and not the learning rate.

    Raises:
        SettingsError: unknown method.
    """
    if not groups:  # every task was dropped for the step
        return torch.zeros_like(shared)
    rows = [torch.autograd.grad(loss, shared, retain_graph=True, materialize_grads=True)[0] for loss in groups.values()]
    with in_float32(shared.device), torch.no_grad():
        jacobian = torch.stack([row.float().flatten() for row in rows])  # (K, B D)
        return combined(jacobian[jacobian.any(dim=1)], method, generator).view_as(shared)


def combined(jacobian: Tensor, method: str, generator: torch.Generator) -> Tensor:
    """One gradient out of K that do not vanish. (K, N) -> (N,). Raises SettingsError for an unknown method."""
    if method == "pcgrad":
        return pcgrad(jacobian, generator)
    if method not in _BY_GRAM:
        raise SettingsError(f"teacher.yaml: gradients.method {method} is unknown, expected pcgrad or {list(_BY_GRAM)}")
    if len(jacobian) < 2:
        return jacobian.sum(dim=0)
    gram = (jacobian @ jacobian.T).double().cpu()  # (K, K): too small for a device
    scaled = gram / gram.diagonal().mean() + _RIDGE * torch.eye(len(gram), dtype=gram.dtype)
    return _BY_GRAM[method](scaled).to(jacobian) @ jacobian


def pcgrad(jacobian: Tensor, generator: torch.Generator) -> Tensor:
    """Each gradient loses its component against every other it conflicts with; then the sum. (K, N) -> (N,).

    The others are taken in random order and as they were, not as already projected.
    Paper: Yu et al., "Gradient surgery for multi-task learning", NeurIPS 2020.
    """
    total = torch.zeros_like(jacobian[0])
    for i, row in enumerate(jacobian):
        mine = row.clone()
        for j in torch.randperm(len(jacobian), generator=generator).tolist():
            inner = mine @ jacobian[j]
            if j != i and inner < 0:
                mine -= inner / jacobian[j].square().sum() * jacobian[j]
        total += mine
    return total


def upgrad_weights(gram: Tensor) -> Tensor:
    """Every gradient is projected onto the directions that harm none; then the sum. (K, K) -> (K,).

    Row i's projection is G^T w with w = argmin w'Gw, w >= e_i: on the right subset of free entries the slope of the
    others is not negative. Paper: Quinton and Rey, "Jacobian descent", 2024 (UPGrad).
    """
    return torch.stack([_dual_cone(gram, row) for row in torch.eye(len(gram), dtype=gram.dtype)]).sum(dim=0)


def _dual_cone(gram: Tensor, least: Tensor) -> Tensor:
    """Minimise w'Gw subject to w >= least. (K, K), (K,) -> (K,)."""
    found = [least]
    for face in _faces(len(gram)):
        pinned = least.clone()
        pinned[face] = 0.0
        w = pinned.clone()
        w[face] = torch.linalg.solve(gram[face][:, face], -gram[face] @ pinned)
        if (w >= least - 1e-12).all():
            found.append(w)
    return min(found, key=lambda w: float(w @ gram @ w))


def cagrad_weights(gram: Tensor) -> Tensor:
    """K (g0 + c |g0| g_w / |g_w|), g0 the mean gradient, w = argmin g_w g0 + c |g0| |g_w| on the simplex. -> (K,).

    Where the minimum lies inside a face, its stationarity b + r G w / |g_w| = mu is a quadratic in mu.
    Paper: Liu et al., "Conflict-averse gradient descent", NeurIPS 2021.
    """
    ways = len(gram)
    even = torch.full((ways,), 1 / ways, dtype=gram.dtype)
    slope, radius = gram @ even, _CAGRAD_RADIUS * (even @ gram @ even).sqrt()
    found = [w for face in _faces(ways) if (w := _on_face(gram, slope, radius, face)) is not None]
    w = min(found, key=lambda w: float(w @ slope + radius * (w @ gram @ w).sqrt()))
    return ways * (even + radius / (w @ gram @ w).sqrt() * w)


def _on_face(gram: Tensor, slope: Tensor, radius: Tensor, face: list[int]) -> Tensor | None:
    """Stationary point of w b + r |g_w| with w on the face and summing to 1, or None where there is none."""
    sides = torch.stack([torch.ones(len(face), dtype=gram.dtype), slope[face]], dim=1)  # (f, 2)
    solved = torch.linalg.solve(gram[face][:, face], sides)
    (a, b), (_, c) = (sides.T @ solved).tolist()
    inside = b * b - a * (c - float(radius) ** 2)
    if inside <= 0:
        return None
    mu = (b + inside**0.5) / a
    w = torch.zeros_like(slope)
    w[face] = (mu * solved[:, 0] - solved[:, 1]) / (mu * a - b)
    return w if (w >= 0).all() else None


def nash_weights(gram: Tensor) -> Tensor:
    """The bargaining solution G alpha = 1 / alpha, scaled to sum K. (K, K) -> (K,).

    It minimises a'Ga / 2 - sum ln a, which is self-concordant: Newton with step 1 / (1 + decrement) cannot leave
    a > 0. Paper: Navon et al., "Multi-task learning as a bargaining game", ICML 2022.
    """
    alpha = gram.diagonal().rsqrt()
    for _ in range(100):
        slope = gram @ alpha - 1 / alpha
        step = torch.linalg.solve(gram + torch.diag(alpha**-2), slope)
        decrement = (slope @ step).clamp_min(0).sqrt()
        alpha = alpha - step / (1 + decrement)
        if decrement < 1e-9:
            break
    return alpha * len(gram) / alpha.sum()


def _faces(ways: int) -> Iterator[list[int]]:
    """Every non-empty subset of the entries."""
    return (list(face) for size in range(1, ways + 1) for face in combinations(range(ways), size))


_BY_GRAM: dict[str, Callable[[Tensor], Tensor]] = {
    "upgrad": upgrad_weights,
    "cagrad": cagrad_weights,
    "nash_mtl": nash_weights,
}
