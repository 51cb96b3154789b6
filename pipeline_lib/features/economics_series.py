"""Monthly series with a time axis: elasticity, permanent income and the like.

Arrays are [R, T], oldest month first and right-aligned: the newest month is the last column, and a row whose
customer came later has its first months masked out. Undefined is NaN. Source: features.md 9.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline_lib.features.columns import Floats, nan_where, ratio

Mask = npt.NDArray[np.bool_]
LOG_FLOOR = 0.05
"""Keeps the ratio of two deviations finite when a series does not move. Source: features.md 9."""


def elasticity(spend: Floats, income: Floats, seen: Mask, least: float, clip: float, min_terms: int) -> Floats:
    """Mean of (dS / S before) / (dY / Y before) over the months whose income moved by ``least`` or more [R].

    Terms are clipped to +-``clip``; fewer than ``min_terms`` of them: NaN.
    """
    growth_s, growth_y = _growth(spend), _growth(income)
    moved = seen[:, 1:] & seen[:, :-1] & (np.abs(growth_y) >= least - 1e-12)  # 1,020 / 1,000 is a little below 1.02
    terms = np.clip(ratio(growth_s, np.where(moved, growth_y, 0.0)), -clip, clip)
    used = moved & ~np.isnan(terms)
    return nan_where(used.sum(axis=1) < min_terms, masked_mean(terms, used))


def smoothing(income: Floats, consumption: Floats, seen: Mask) -> Floats:
    """ln((sd(d ln Y) + .05) / (sd(d ln C) + .05)): positive where consumption is smoother than income [R]."""
    spread_y, spread_c = (masked_sd(*_log_steps(x, seen)) for x in (income, consumption))
    return np.asarray(np.log((spread_y + LOG_FLOOR) / (spread_c + LOG_FLOOR)))


def halves(values: Floats, seen: Mask, limit: float) -> Floats:
    """ln((older half + 1) / (newer half + 1)) of the seen months, clipped; a middle month is in neither half [R]."""
    count = seen.sum(axis=1)[:, None]
    newest_first = np.arange(values.shape[1])[::-1][None, :]
    half = count // 2
    newer = np.where(newest_first < half, values, 0.0).sum(axis=1)
    older = np.where((newest_first >= count - half) & (newest_first < count), values, 0.0).sum(axis=1)
    logs = np.log((np.maximum(older, 0.0) + 1) / (np.maximum(newer, 0.0) + 1))
    return np.asarray(np.clip(logs, -limit, limit))


@dataclass(frozen=True)
class PermanentIncome:
    """Income split into a trailing mean P and what is left, Y - P."""

    income: Floats
    permanent: Floats
    """P_t = mean of the newest min(window, t) seen months up to t [R, T]."""
    seen: Mask

    @classmethod
    def trailing(cls, income: Floats, seen: Mask, window: int) -> PermanentIncome:
        known = np.where(seen, income, 0.0)
        total, count = _trailing_sum(known, window), _trailing_sum(seen.astype(np.float64), window)
        return cls(known, ratio(total, np.where(seen, count, 0.0)), seen)

    @property
    def level(self) -> Floats:
        """Mean of P [R]."""
        return masked_mean(self.permanent, self.seen)

    @property
    def stability(self) -> Floats:
        return ratio(masked_sd(self.permanent, self.seen), self.level)

    def growth(self, limit: float) -> Floats:
        """(P_T - P_1) / P_1, clipped [R]."""
        first = np.take_along_axis(self.permanent, self.seen.argmax(axis=1)[:, None], axis=1)[:, 0]
        last = self.permanent[:, -1]
        return np.asarray(np.clip(ratio(last - first, first), -limit, limit))

    @property
    def trend(self) -> Floats:
        """Least-squares slope of P / mean(P) per month [R]."""
        month = np.broadcast_to(np.arange(self.seen.shape[1], dtype=np.float64), self.seen.shape)
        centred = np.where(self.seen, month - masked_mean(month, self.seen)[:, None], 0.0)
        share = ratio(self.permanent, np.broadcast_to(self.level[:, None], self.seen.shape))
        top = np.where(self.seen, centred * share, 0.0).sum(axis=1)
        return ratio(top, (centred**2).sum(axis=1))

    def transitory(self) -> tuple[Floats, Floats, Floats]:
        """Mean, standard deviation and maximum of Y - P, each over mean(P) [R]."""
        rest = self.income - self.permanent
        top = np.where(self.seen, rest, -np.inf).max(axis=1)
        parts = (masked_mean(rest, self.seen), masked_sd(rest, self.seen), np.where(np.isfinite(top), top, np.nan))
        return tuple(ratio(part, self.level) for part in parts)  # type: ignore[return-value]

    def bonus_share(self, share: float) -> Floats:
        """Share of months with Y - P above ``share`` of P [R]."""
        bonus = self.seen & (self.income - self.permanent > share * self.permanent)
        return ratio(bonus.sum(axis=1).astype(np.float64), self.seen.sum(axis=1).astype(np.float64))


def masked_mean(values: Floats, mask: Mask) -> Floats:
    return ratio(np.where(mask, values, 0.0).sum(axis=1), mask.sum(axis=1).astype(np.float64))


def masked_sd(values: Floats, mask: Mask) -> Floats:
    """Sample standard deviation; NaN with fewer than two values [R]."""
    mean = masked_mean(values, mask)[:, None]
    squares = np.where(mask, (values - mean) ** 2, 0.0).sum(axis=1)
    return np.asarray(np.sqrt(ratio(squares, np.maximum(mask.sum(axis=1) - 1.0, 0.0))))


def masked_cv(values: Floats, mask: Mask) -> Floats:
    """Sample standard deviation over mean; NaN where the mean is not positive [R]."""
    return ratio(masked_sd(values, mask), np.maximum(masked_mean(values, mask), 0.0))


def _growth(values: Floats) -> Floats:
    """Change over the month before, NaN where that one is not positive [R, T - 1]."""
    return ratio(np.diff(values, axis=1), np.maximum(values[:, :-1], 0.0))


def _log_steps(values: Floats, seen: Mask) -> tuple[Floats, Mask]:
    """Steps d ln of consecutive positive months, and which they are [R, T - 1]."""
    good = seen & (values > 0)
    return np.diff(np.log(np.where(good, values, 1.0)), axis=1), good[:, 1:] & good[:, :-1]


def _trailing_sum(values: Floats, window: int) -> Floats:
    total = np.cumsum(values, axis=1)
    return total - np.pad(total, ((0, 0), (window, 0)))[:, : values.shape[1]]
