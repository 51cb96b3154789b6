"""What a path of state probabilities says: sixteen numbers a mode.

``gamma`` is [R, T, N] (probability of each state at each step), ``path`` [R, T] the Viterbi states; a sequence's
steps are the last ``length`` of the T. Nothing is read before its first step. Source: features.md 5.2.
"""

from __future__ import annotations

import numpy as np

from pipeline_lib.features.columns import Floats, ratio
from pipeline_lib.features.hmm.model import Bools, Ints

PATH_STATS = ("state_duration", "transition_stability", "transition_entropy", "dominant_state", "state_change_rate")
MOTION_STATS = (
    "ode_velocity", "ode_acceleration", "ode_lyapunov", "ode_cycle_period", "ode_attractor", "ode_trajectory_len",
)  # fmt: skip
LYAPUNOV_OFFSET = 0.01
LYAPUNOV_CLIP = 3.0
MIN_CYCLE_STEPS = 6
MIN_CYCLE_CORRELATION = 0.3
LARGEST_MOVE = np.sqrt(2.0)
"""Distance between two certain states."""


def path_stats(path: Ints, last: Floats, stay: Floats, length: Ints) -> dict[str, Floats]:
    """Statistics of the Viterbi path, length >= 2.

    Args:
        last: gamma at the last step [R, N].
        stay: probability of staying in each state, a_ii [N].
    """
    states, live = last.shape[1], _live(path.shape[1], length)
    pair_live = live[:, :-1]
    pairs = path[:, :-1] * states + path[:, 1:]
    changes = ((path[:, :-1] != path[:, 1:]) & pair_live).sum(axis=1)
    dominant = _counted(path, live, states).argmax(axis=1)
    return {
        "state_duration": _final_run(path, live) / length,
        "transition_stability": (last * stay).sum(axis=1),
        "transition_entropy": _entropy(_counted(pairs, pair_live, states**2)) / np.log(states**2),
        "dominant_state": dominant / (states - 1),
        "state_change_rate": changes / (length - 1),
    }


def motion_stats(gamma: Floats, length: Ints) -> dict[str, Floats]:
    """How the probabilities move, length >= 3; velocity and acceleration in units of the largest move."""
    live = _live(gamma.shape[1], length)
    move = np.where(live[:, :-1, None], np.diff(gamma, axis=1), 0.0)  # (R, T - 1, N)
    speed = _norm(move)
    bend = np.where(live[:, :-2], _norm(np.diff(gamma, n=2, axis=1)), 0.0)
    whole = np.where(live[:, :, None], gamma, 0.0)
    start = gamma[np.arange(len(gamma)), gamma.shape[1] - length]
    direct = _norm(gamma[:, -1] - start)
    return {
        "ode_velocity": speed.sum(axis=1) / (length - 1) / LARGEST_MOVE,
        "ode_acceleration": bend.sum(axis=1) / (length - 2) / LARGEST_MOVE,
        "ode_lyapunov": _divergence(speed / LARGEST_MOVE, length),
        "ode_cycle_period": _cycle(whole, live, length),
        "ode_attractor": (whole.sum(axis=1) / length[:, None]).max(axis=1),
        # Sums of many steps may differ from the direct way by rounding.
        "ode_trajectory_len": np.clip(np.nan_to_num(1.0 - ratio(direct, speed.sum(axis=1))), 0.0, 1.0),
    }


def _divergence(speed: Floats, length: Ints) -> Floats:
    """Ln of mean speed in the second half of the steps over that in the first, the shorter one."""
    moves = (length - 1)[:, None]
    place = np.arange(speed.shape[1])[None, :] - (speed.shape[1] - moves)
    early = (place >= 0) & (place < moves // 2)
    late = place >= moves // 2
    before, after = (np.where(half, speed, 0.0).sum(axis=1) / half.sum(axis=1) for half in (early, late))
    logs: Floats = np.log((after + LYAPUNOV_OFFSET) / (before + LYAPUNOV_OFFSET))
    return logs.clip(-LYAPUNOV_CLIP, LYAPUNOV_CLIP)


def _cycle(whole: Floats, live: Bools, length: Ints) -> Floats:
    """Lag in 2..T/2 with the largest autocorrelation of the centred vectors, if it is marked, as a share of T."""
    mean = whole.sum(axis=1, keepdims=True) / length[:, None, None]
    centred = np.where(live[:, :, None], whole - mean, 0.0)
    power = (centred**2).sum(axis=(1, 2))
    best, period = np.full(len(length), MIN_CYCLE_CORRELATION), np.zeros(len(length))
    for lag in range(2, whole.shape[1] // 2 + 1):
        together = ratio((centred[:, lag:] * centred[:, :-lag]).sum(axis=(1, 2)), power)
        better = (together > best) & (2 * lag <= length) & (length >= MIN_CYCLE_STEPS)
        best, period = np.where(better, together, best), np.where(better, lag, period)
    return period / length


def _live(steps: int, length: Ints) -> Bools:
    live: Bools = np.arange(steps)[None, :] >= steps - length[:, None]
    return live


def _norm(vectors: Floats) -> Floats:
    length: Floats = np.sqrt((vectors**2).sum(axis=-1))
    return length


def _final_run(path: Ints, live: Bools) -> Floats:
    """Steps at the end that are all in the last state."""
    same = (path == path[:, -1:]) & live
    run: Floats = np.cumprod(same[:, ::-1], axis=1).sum(axis=1).astype(np.float64)
    return run


def _counted(codes: Ints, live: Bools, size: int) -> Ints:
    """How often each row has each code [R, size]."""
    place = np.arange(len(codes))[:, None] * size + codes
    return np.bincount(place[live], minlength=len(codes) * size).reshape(len(codes), size)


def _entropy(counts: Ints) -> Floats:
    share: Floats = counts / counts.sum(axis=1, keepdims=True)
    total: Floats = (share * np.log(np.where(share > 0, share, 1.0))).sum(axis=1)
    return 0.0 - total
