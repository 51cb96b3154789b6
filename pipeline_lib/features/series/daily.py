"""Statistics of daily spend [R, D], oldest day first, idle days 0: spectrum, autocorrelation, ordinal patterns.

Rows without variance give NaN everywhere.
"""

from __future__ import annotations

import numpy as np

from pipeline_lib.features.columns import Floats, Values, ratio

LJUNG_BOX_LAGS = 7
PATTERNS = 6


def spectrum(x: Floats) -> Values:
    """Periodogram P of the mean-removed series under a Hann window, frequency f in cycles per day, f = 0 left out.

    Dominant frequency (the lowest of equal ones); entropy of P / sum P over ln(bins); centroid = sum f P / sum P;
    bandwidth = sqrt(sum (f - centroid)^2 P / sum P).
    """
    days = x.shape[1]
    centred = x - x.mean(axis=1, keepdims=True)
    power = np.abs(np.fft.rfft(centred * np.hanning(days), axis=1)[:, 1:]) ** 2
    f = np.fft.rfftfreq(days)[1:]
    total = power.sum(axis=1)
    p = ratio(power, np.broadcast_to(total[:, None], power.shape))
    centroid = (p * f).sum(axis=1)
    return {
        "ts_freq_dominant": np.where(total > 0, f[power.argmax(axis=1)], np.nan),
        "ts_freq_entropy": (0.0 - (p * np.log(np.where(p > 0, p, 1.0))).sum(axis=1)) / np.log(len(f)),
        "ts_freq_centroid": centroid,
        "ts_freq_bandwidth": np.sqrt((p * (f - centroid[:, None]) ** 2).sum(axis=1)),
    }


def autocorrelations(x: Floats, lags: int) -> Floats:
    """r_k = sum (x_t - m)(x_{t+k} - m) / sum (x_t - m)^2 for k = 1..lags [R, lags]."""
    centred = x - x.mean(axis=1, keepdims=True)
    power = (centred**2).sum(axis=1)
    return np.stack([ratio((centred[:, k:] * centred[:, :-k]).sum(axis=1), power) for k in range(1, lags + 1)], axis=1)


def autoregression(x: Floats) -> Values:
    """Autocorrelation at 1 and 7, partial autocorrelation at 2, ln1p of Ljung and Box's Q over lags 1..7.

    Partial at 2 = (r2 - r1^2) / (1 - r1^2); Q = n (n + 2) sum r_k^2 / (n - k). Source: Ljung and Box, 1978.
    """
    n = x.shape[1]
    r = autocorrelations(x, LJUNG_BOX_LAGS)
    first, second = r[:, 0], r[:, 1]
    q = n * (n + 2) * (r**2 / (n - np.arange(1, LJUNG_BOX_LAGS + 1))).sum(axis=1)
    return {
        "ts_ar_lag1": first,
        "ts_ar_lag7": r[:, 6],
        "ts_ar_partial2": ratio(second - first**2, 1.0 - first**2),
        "ts_ar_ljung_box": np.log1p(q),
    }


def permutation_entropy(x: Floats) -> Floats:
    """Entropy of the order patterns of three consecutive values over ln 6 [R]; equal values keep their order.

    Source: Bandt and Pompe, 2002.
    """
    a, b, c = x[:, :-2], x[:, 1:-1], x[:, 2:]
    code = (a <= b) * 4 + (b <= c) * 2 + (a <= c)  # six of the eight codes can occur
    place = np.arange(len(x))[:, None] * 8 + code
    counts = np.bincount(place.ravel(), minlength=len(x) * 8).reshape(len(x), 8)
    share: Floats = counts / code.shape[1]
    total: Floats = (share * np.log(np.where(share > 0, share, 1.0))).sum(axis=1)
    entropy: Floats = 0.0 - total
    return entropy / float(np.log(PATTERNS))
