"""What never changes about a customer: persona, situations, base latents, segment, when they enter.

All of it is hidden but the segment. Source: data.md 8.3, 8.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline_lib.ingest.synthetic.choice import categorical
from pipeline_lib.ingest.synthetic.laws import Floats, Ints, Laws
from pipeline_lib.ingest.synthetic.seeds import stream


@dataclass(frozen=True)
class Customers:
    """One block; N customers, D latents."""

    seed: int
    block: int
    number: Ints
    """Customer number, (N,)."""
    persona: Ints
    situation: dict[str, Ints]
    """Axis -> position of the customer's situation."""
    base: Floats
    """z0, (N, D)."""
    shock_month: Ints
    """Month of the value shock, counted from 0."""
    shock_sign: Floats
    segment: Ints
    entry: Ints
    """Month of the first row, counted from 0."""
    payday: Ints
    """Day of the calendar month on which a salary arrives."""

    def __len__(self) -> int:
        return len(self.number)


FIRST_NUMBER = 100_001


def draw(laws: Laws, seed: int, block: int, first: int, size: int) -> Customers:
    """Customers ``first .. first + size - 1`` of the bank."""
    policy = laws.policy
    rng = stream(seed, "customers", block)
    persona = categorical(rng.random(size), laws.persona_share)
    situation = {
        axis: categorical(rng.random(size), np.array(list(shares.values())))
        for axis, shares in policy.situations.items()
    }
    ramp = policy.ramp_months
    pay = policy.events.salary.days
    return Customers(
        seed=seed,
        block=block,
        number=FIRST_NUMBER + first + np.arange(size),
        persona=persona,
        situation=situation,
        base=_base(laws, rng, persona),
        shock_month=rng.integers(ramp[0] - 1, ramp[1], size),
        shock_sign=rng.choice([-1.0, 1.0], size),
        segment=categorical(rng.random(size), laws.persona("segment")[persona]),
        entry=_entry(policy.panel.rows, rng.random(size)),
        payday=rng.integers(pay[0], pay[1] + 1, size),
    )


def _base(laws: Laws, rng: np.random.Generator, persona: Ints) -> Floats:
    """z0 = w_p (mean_persona + N(0, v I)) + w_o N(0, I). Source: data.md 8.4, (N, D)."""
    path = laws.policy.latent_path
    mean = laws.persona("latent_mean")[persona]
    around = mean + np.sqrt(path.persona_variance) * rng.standard_normal(mean.shape)
    return np.asarray(path.persona_weight * around + path.own_weight * rng.standard_normal(mean.shape))


def _entry(rows: list[int], uniform: Floats) -> Ints:
    entered = np.maximum.accumulate(np.array(rows, dtype=np.float64)) / max(rows)
    return np.searchsorted(entered, uniform, side="left").astype(np.int64)
