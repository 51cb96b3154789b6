"""Vectorised draws that several stages share."""

from __future__ import annotations

import numpy as np

from pipeline_lib.ingest.synthetic.laws import Bools, Floats, Ints


def pick(rng: np.random.Generator, weights: Floats, count: Ints) -> Bools:
    """Choose up to ``count`` items of each row without replacement, with odds ``weights``; zero is never chosen.

    The Gumbel trick: the k largest of ln w + Gumbel noise are a sample without replacement.
    Source: Kool et al. 2019, "Stochastic Beams and Where to Find Them", section 2.2.

    Args:
        weights: (R, P), not negative.
        count: (R,).

    Returns:
        (R, P); a row has fewer than ``count`` when fewer weights are positive.
    """
    noise = rng.gumbel(size=weights.shape)
    with np.errstate(divide="ignore"):
        keys = np.log(weights) + noise
    order = np.argsort(-keys, axis=1, kind="stable")
    chosen = np.zeros(weights.shape, dtype=bool)
    wanted = np.arange(weights.shape[1]) < count[:, None]
    np.put_along_axis(chosen, order, wanted, axis=1)
    chosen &= weights > 0
    return chosen


def categorical(uniform: Floats, probabilities: Floats) -> Ints:
    """Inverse of a discrete law: (N,) uniforms and (C,) or per-row (N, C) probabilities give (N,) positions."""
    cumulative = np.cumsum(probabilities, axis=-1)
    cumulative = cumulative / cumulative[..., -1:]
    if probabilities.ndim == 1:
        return np.searchsorted(cumulative, uniform, side="right").astype(np.int64)
    return np.asarray(np.sum(uniform[:, None] >= cumulative, axis=1), dtype=np.int64)


def zipf(size: int, exponent: float) -> Floats:
    """Probabilities proportional to rank ** -exponent."""
    weights = np.arange(1, size + 1, dtype=np.float64) ** -exponent
    return np.asarray(weights / weights.sum(), dtype=np.float64)
