"""Rank statistics over the rows of matrices. N rows, F columns, E experts."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor


def spearman_rows(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman correlation of each row of a with the same row of b. (N, F) twice -> (N,); NaN for a constant row."""
    x, y = (rankdata(v, axis=1) - (v.shape[1] + 1) / 2 for v in (a, b))
    with np.errstate(invalid="ignore"):
        found: np.ndarray = (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))
    return found


def spearman_few(a: Tensor, b: Tensor, counts: Tensor) -> Tensor:
    """Spearman over the last axis, of the entries that count. (..., E) three times -> (...); NaN where undefined.

    For a short axis: ranks come from comparing every pair, ties share their mean rank.
    """
    x, y = _centred_ranks(a, counts), _centred_ranks(b, counts)
    return (x * y).sum(-1) / ((x * x).sum(-1) * (y * y).sum(-1)).sqrt()


def _centred_ranks(v: Tensor, counts: Tensor) -> Tensor:
    """Rank minus mean rank: half of (how many are smaller - how many are larger)."""
    mine, other = v[..., :, None], v[..., None, :]
    beats = (mine > other).double() - (mine < other).double()  # (..., E, E)
    return (beats * counts[..., None, :]).sum(-1) / 2 * counts


def top_overlap(values: np.ndarray, k: int) -> float | None:
    """Mean share of the k largest magnitudes that two different rows have in common [0..1]. (N, F)."""
    n = len(values)
    if n < 2:
        return None
    top = np.argpartition(-np.abs(values), k - 1, axis=1)[:, :k]
    often = np.bincount(top.ravel(), minlength=values.shape[1]).astype(float)
    return float(((often**2).sum() - n * k) / (n * (n - 1) * k))


def spread_ratio(values: np.ndarray) -> float | None:
    """Variance between rows over variance within a row: small when every row gets the same profile. (N, F)."""
    within = float(values.var(axis=1).mean())
    return float(values.var(axis=0).mean()) / within if within > 0 else None


def mean_known(values: np.ndarray | Tensor) -> float | None:
    """Mean of what is not NaN, None where nothing is."""
    known = torch.as_tensor(values).double()
    known = known[~known.isnan()]
    return float(known.mean()) if len(known) else None
