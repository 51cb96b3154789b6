"""Spectra, phases and coherence of daily series, batched: arrays are [R, days], a series per row.

Every row is computed by itself and in a fixed order, so a value does not depend on the batch. A series without
variation has no spectrum: NaN. Source: features.md 10; Welch, 1967; Gabor, 1946 (analytic signal).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.signal

from pipeline_lib.features.columns import Floats, nan_where, ratio

Complex = npt.NDArray[np.complex128]
SEGMENT, STEP = 30, 15
WEEK_DAYS = 7
NEAR_BINS = 1.5
NOTHING = 1e-12
"""Share of a series' power below which a bin is rounding error."""
_DIGITS = 9
"""Bins whose power agrees to so many decimals are equal: the lowest frequency is taken."""


def spectrum(x: Floats) -> Floats:
    """Shares of power of the Hann-windowed, mean-removed series at frequencies 1/n, 2/n, ... [R, n // 2]."""
    n = x.shape[1]
    centred = x - x.mean(axis=1, keepdims=True)
    power = np.abs(np.fft.rfft(centred * np.hanning(n), axis=1))[:, 1:] ** 2
    total = power.sum(axis=1, keepdims=True)
    flat = total <= NOTHING * (x**2).sum(axis=1, keepdims=True)
    return ratio(power, np.broadcast_to(np.where(flat, 0.0, total), power.shape))


def frequencies(days: int) -> Floats:
    """Of the bins of ``spectrum`` [cycles per day]."""
    return np.arange(1, days // 2 + 1) / days


def entropy(share: Floats) -> Floats:
    """Of the power shares, over its maximum [R]: 0 one frequency, 1 noise."""
    logs = np.log(np.where(share > 0, share, 1.0))
    return np.asarray(-(share * logs).sum(axis=1) / np.log(share.shape[1]))


def weekly_power(share: Floats, days: int) -> Floats:
    """Power within 1.5 bins of one and two cycles a week [R]."""
    bins = np.arange(1, share.shape[1] + 1)
    near = np.any([np.abs(bins - k * days / WEEK_DAYS) <= NEAR_BINS for k in (1, 2)], axis=0)
    return np.asarray(share[:, near].sum(axis=1))


def dominant_period(share: Floats, days: int) -> Floats:
    """Length of the strongest period, as a share of the window [R]."""
    strongest = np.round(share, _DIGITS).argmax(axis=1)
    return nan_where(np.isnan(share[:, 0]), 1 / frequencies(days)[strongest] / days)


def centroid(x: Floats) -> Floats:
    """Mean frequency by power [R]."""
    return np.asarray((spectrum(x) * frequencies(x.shape[1])).sum(axis=1))


def coherence(a: Floats, b: Floats) -> Floats:
    """Mean over frequencies above 0 of Welch's coherence of two series, segments of 30 days every 15 [R]."""
    fa, fb = _segments(a), _segments(b)
    cross = np.abs((fa * fb.conj()).sum(axis=1)) ** 2
    power_a, power_b = ((np.abs(f) ** 2).sum(axis=1) for f in (fa, fb))
    some = _some(power_a) & _some(power_b)
    each = ratio(cross, np.where(some, power_a * power_b, 0.0))
    return ratio(np.where(some, each, 0.0).sum(axis=1), some.sum(axis=1).astype(np.float64))


def phase_steps(a: Floats, b: Floats) -> Complex:
    """exp(i (phase of a - phase of b)) of the analytic signals, day by day [R, days]; NaN where either is flat."""
    za, zb = (scipy.signal.hilbert(x - x.mean(axis=1, keepdims=True), axis=1) for x in (a, b))
    product = za * zb.conj()
    size = np.abs(product)
    out: Complex = np.full(product.shape, complex(np.nan, np.nan))
    np.divide(product, size, out=out, where=size > 0)
    return out


def phases(a: Floats, b: Floats) -> tuple[Floats, Floats, Floats]:
    """Phase locking, absolute mean difference over pi, and share of days in phase (less than a quarter apart) [R]."""
    step = phase_steps(a, b)
    mean = step.mean(axis=1)
    together = nan_where(np.isnan(mean.real), (step.real > _ROUNDING).mean(axis=1))
    return np.abs(mean), np.abs(np.angle(mean)) / np.pi, together


_ROUNDING = 1e-9


def _segments(x: Floats) -> Complex:
    """Spectra of the mean-removed, Hann-windowed segments, frequency 0 left out [R, segments, bins]."""
    parts = np.lib.stride_tricks.sliding_window_view(x, SEGMENT, axis=1)[:, ::STEP]
    centred = parts - parts.mean(axis=2, keepdims=True)
    window = scipy.signal.get_window("hann", SEGMENT)
    return np.asarray(np.fft.rfft(centred * window, axis=2)[:, :, 1:])


def _some(power: Floats) -> npt.NDArray[np.bool_]:
    return np.asarray(power > NOTHING * power.max(axis=1, keepdims=True))
