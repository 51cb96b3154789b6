"""The latent path: z_t = c_t + phi (z_{t-1} - c_{t-1}) + noise, where c_t is the base plus ramped situations.

Source: data.md 8.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline_lib.ingest.synthetic.customers import Customers
from pipeline_lib.ingest.synthetic.laws import Floats, Laws
from pipeline_lib.ingest.synthetic.seeds import stream


def ramp(laws: Laws, month: int) -> float:
    """How far the situations have come [0..1]: 0 up to the ramp's first month, 1 from its last on."""
    first, last = laws.policy.ramp_months
    return float(np.clip((month + 1 - first) / (last - first), 0.0, 1.0))


@dataclass(frozen=True)
class Latents:
    """One month: ``value`` z_t (N, D) and its ``deviation`` from the centre."""

    value: Floats
    deviation: Floats


def step(laws: Laws, customers: Customers, month: int, before: Latents | None) -> Latents:
    """z_t from z_{t-1}; without a month before, from the stationary law."""
    path = laws.policy.latent_path
    rng = stream(customers.seed, "latents", customers.block, month)
    fresh = path.stationary_sd * rng.standard_normal(customers.base.shape)
    if before is None:
        deviation = fresh
    else:
        deviation = path.persistence * before.deviation + np.sqrt(1.0 - path.persistence**2) * fresh
    return Latents(_centre(laws, customers, month, rng) + deviation, deviation)


def _centre(laws: Laws, customers: Customers, month: int, rng: np.random.Generator) -> Floats:
    """c_t, (N, D)."""
    policy = laws.policy
    shift = _full_shifts(laws, customers)
    volatile = customers.situation["engagement"] == list(policy.situations["engagement"]).index("volatile")
    signs = rng.choice([-1.0, 1.0], len(customers))
    shift[:, policy.latents.index("activity")] += np.where(volatile, policy.volatile_activity * signs, 0.0)
    out = customers.base + ramp(laws, month) * shift
    shocked = customers.situation["value"] == list(policy.situations["value"]).index("shock")
    after = shocked & (month >= customers.shock_month)
    out[:, policy.latents.index("wealth")] += np.where(after, policy.shock_wealth * customers.shock_sign, 0.0)
    return np.asarray(out)


def _full_shifts(laws: Laws, customers: Customers) -> Floats:
    policy = laws.policy
    out = np.zeros_like(customers.base)
    for axis, shifts in policy.shifts.items():
        table = np.zeros((len(policy.situations[axis]), len(policy.latents)))  # (situations, D)
        for situation, moves in shifts.items():
            for latent, size in moves.items():
                table[list(policy.situations[axis]).index(situation), policy.latents.index(latent)] = size
        out += table[customers.situation[axis]]
    return out
