"""Events of one customer as points with six coordinates.

ln1p(amount) / train sd; the category's mid-rank in the train frequencies x sqrt(12); sine and cosine of the weekday
and of the hour: each of the four variables then has a variance of about 1. A source that knows dates only has no
hour, so these two coordinates are 0 for every event and the cloud lies in the four others; the fitted array
``hour_radius`` says so. In a source with hours, an event without one lies at the centre of the hour's circle, as far
from every hour. Source: features.md 7.1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pipeline_lib.features.columns import Floats
from pipeline_lib.features.generator import Arrays
from pipeline_lib.features.stream import NO_TIME, Events, Window

Singles: TypeAlias = npt.NDArray[np.float32]
Ints: TypeAlias = npt.NDArray[np.int64]
COORDINATES = 6
CATEGORIES = 256
"""``mcc_idx`` is a UInt8."""
DAY_SECONDS = 86_400
BUCKET_POINTS, MOST_BUCKETS = 10, 10
MOST_TURNS = 1 << 16
_TURN, _TIE_OF_TURN, _GROUP, _RANK = (np.uint64(bits) for bits in (48, 16, 40, 24))
MIN_POINTS, LOOP_POINTS = 5, 15
"""Events from which connected parts, then loops are computed."""


@dataclass(frozen=True)
class Clouds:
    points: Singles
    """[R, P, 6]; a row's points are its first ``count``, 0 behind them."""
    count: Ints
    """[R]."""


def fit_scales(events: Events) -> Arrays:
    """Scales of the coordinates from the events of train rows: amount_sd [1], mcc_rank [256], hour_radius [1]."""
    logs = np.log1p(events.amount)
    sd = float(logs.std(ddof=1)) if len(logs) > 1 else 0.0
    return {
        "amount_sd": np.array([sd if sd > 0 else 1.0]),
        "mcc_rank": _mid_ranks(np.bincount(events.mcc, minlength=CATEGORIES)),
        "hour_radius": np.array([float((events.second != NO_TIME).any())]),
    }


def _mid_ranks(counts: Ints) -> Floats:
    """Share of events in more frequent categories plus half of the category's own; one never seen gets 1 [256]."""
    order = np.argsort(-counts, kind="stable")
    shares = counts[order] / max(int(counts.sum()), 1)
    ranks = np.ones(CATEGORIES)
    ranks[order] = np.cumsum(shares) - shares / 2
    return np.where(counts > 0, ranks, 1.0)


def part(window: Window, newest: int, oldest: int) -> Window:
    """The events with newest <= age < oldest, as a window of its own whose ages begin at 0 again."""
    kept = window.where((window.age >= newest) & (window.age < oldest))
    return replace(kept, age=kept.age - np.int32(newest), days=oldest - newest)


def sampled(window: Window, cap: Ints) -> Window:
    """At most ``cap`` [R] events per row, spread over the window's time.

    The window is cut into min(10, max(1, n // 10)) equal time buckets, which give one event each in turn until the
    cap is reached; a bucket gives its events in the order of ``Window.tie``, a hash of the event's own values.
    Source: features.md 7.1; an event's values stand for its id, which a stream does not hold.
    """
    row, counts = window.row, window.counts
    keep = (counts <= cap)[row]
    over = np.flatnonzero(~keep)
    if not len(over):
        return window
    who, tie = row[over], window.tie()[over]
    buckets = np.clip(counts // BUCKET_POINTS, 1, MOST_BUCKETS)[who]
    bucket = (window.days - 1 - window.age[over].astype(np.int64)) * buckets // window.days
    turn = np.minimum(_place(who * MOST_BUCKETS + bucket, tie), MOST_TURNS - 1)
    keep[over] = _place(who, turn.astype(np.uint64) << _TURN | tie >> _TIE_OF_TURN) < cap[who]
    return window.where(keep)


def _place(group: Ints, rank: npt.NDArray[np.uint64]) -> Ints:
    """Position of every event among its group's, by the upper 40 bits of ``rank``, then by its place [E]."""
    key = group.astype(np.uint64) << _GROUP | rank >> _RANK
    order = np.argsort(key, kind="stable")  # one key of 64 bits costs half of two in a lexsort
    ordered = group[order]
    begins = np.flatnonzero(np.diff(ordered, prepend=-1))
    sizes = np.diff(np.append(begins, len(ordered)))
    places = np.empty(len(group), dtype=np.int64)
    places[order] = np.arange(len(group)) - np.repeat(begins, sizes)
    return places


def clouds(window: Window, cap: int, scales: Arrays) -> Clouds:
    """Coordinates of the window's events, at most ``cap`` a row."""
    count = window.counts
    points = np.zeros((len(window), cap, COORDINATES), dtype=np.float32)
    points[window.row, np.arange(len(window.age)) - np.repeat(window.offsets[:-1], count)] = _points(
        window.events, scales
    )
    return Clouds(points, count)


def _points(events: Events, scales: Arrays) -> Singles:
    weekday = (events.day.astype(np.int64) % 7) * (2 * np.pi / 7)
    hour = events.second * (2 * np.pi / DAY_SECONDS)
    radius = np.where(events.second == NO_TIME, 0.0, scales["hour_radius"])
    coordinates = (
        np.log1p(events.amount) / scales["amount_sd"],
        scales["mcc_rank"][events.mcc] * np.sqrt(12.0),
        np.sin(weekday), np.cos(weekday),
        np.sin(hour) * radius, np.cos(hour) * radius,
    )  # fmt: skip
    return np.stack(coordinates, axis=1).astype(np.float32)
