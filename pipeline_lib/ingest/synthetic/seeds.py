"""One random stream per (stage, block, month): any block or month can be made alone, in any order, by any worker.

Source: data.md 8.2; NumPy's SeedSequence mixes its integers so that neighbouring keys give unrelated streams.
"""

from __future__ import annotations

import numpy as np

STAGES = (
    "customers",
    "demographics",
    "presence",
    "latents",
    "spending",
    "start",
    "churn",
    "additions",
    "drops",
    "purchases",
    "inflows",
    "refunds",
    "taste",
    "merchants",
    "dirt",
)
"""Append only: the position of a stage is part of its seed."""

ALWAYS = -1000
"""The month of what is drawn once."""


def stream(seed: int, stage: str, block: int, month: int = ALWAYS) -> np.random.Generator:
    """The generator of one stage, block and month (months count from the first snapshot = 0, burn-in below)."""
    key = (STAGES.index(stage), block, month - ALWAYS)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))
