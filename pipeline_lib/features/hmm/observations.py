"""The sequences that the three modes observe: weeks and months counted back from the cutoff.

A month is 30 days, as in every other group; holdings are those of the month's snapshot, so month k back has the
spend of days 30 k to 30 k + 29 and the holdings of the k-th snapshot back. A sequence begins with the month of the
customer's first snapshot (with its week, for the journey) and has no gaps: a month without events has counts of 0.
NaN = not defined; it becomes the train mean. "Never used before" and "days since" look back within the 360 days
that the stream holds. Source: features.md 5.1.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from pipeline_lib.features.columns import Floats, nan_where, ratio
from pipeline_lib.features.history import History
from pipeline_lib.features.hmm.model import Bools, Ints, Sequences
from pipeline_lib.features.series.blocks import per_row
from pipeline_lib.features.stream import KINDS, LOOKBACK_DAYS, NO_MERCHANT, NO_TIME, Stream, Window

WEEK, MONTH = 7, 30
NIGHT_SECONDS = 6 * 3600
SATURDAY = 5
THURSDAY = 3
"""Weekday of 1970-01-01, Monday = 0."""


@dataclass(frozen=True)
class Observed:
    sequences: Sequences
    """Raw units, NaN = not defined."""
    events: Floats
    """Purchases inside the sequence [R]."""


def journey(stream: Stream, history: History, weeks: int) -> Observed:
    """ln1p purchases; categories not used before; distinct merchants; days since the last purchase at week end."""
    w = stream.window(LOOKBACK_DAYS, ("spend",))
    near = w.last(weeks * WEEK)
    place = _places(near, WEEK)
    count = _table(near, place, weeks)
    merchant = near.events.merchant
    known = merchant != NO_MERCHANT
    distinct = _table(near, place, weeks, _first_of(place, merchant) & known)
    unknown = (_table(near, place, weeks, known) == 0) & (count > 0)
    length = np.minimum(span_months(history) * MONTH // WEEK, weeks)
    values = [np.log1p(count), _new_categories(w, weeks), nan_where(unknown, distinct), _days_since(w, weeks)]
    return _observed(values, length, count)


def lifecycle(stream: Stream, history: History) -> Observed:
    """ln1p spend; products held; products added less dropped; ln1p purchases."""
    w = stream.window(LOOKBACK_DAYS, ("spend",))
    months = history.products_by_month.shape[1]
    near = w.last(months * MONTH)
    place = _places(near, MONTH)
    count, spend = _table(near, place, months), _table(near, place, months, near.events.amount)
    moves = (history.added_by_month - history.dropped_by_month)[:, ::-1]
    held = _last_known(history.products_by_month[:, ::-1])
    return _observed([np.log1p(spend), held, moves, np.log1p(count)], span_months(history), count)


def behavior(stream: Stream, history: History) -> Observed:
    """ln1p average purchase; entropy of its categories [nats]; share at night or weekend; transfers' share of outflow.

    A purchase without a time of day cannot be told from one at night and is left out of that share.
    """
    months = history.products_by_month.shape[1]
    out = stream.window(months * MONTH, ("spend", "cash", "transfer"))
    near = out.of_kinds("spend")
    place, place_out = _places(near, MONTH), _places(out, MONTH)
    count, spend = _table(near, place, months), _table(near, place, months, near.events.amount)
    timed = near.events.second != NO_TIME
    free = timed & ((near.events.second < NIGHT_SECONDS) | ((near.events.day + THURSDAY) % 7 >= SATURDAY))
    moved = np.where(out.events.kind == KINDS.index("transfer"), out.events.amount, 0.0)
    values = [
        np.log1p(ratio(spend, count)),
        _category_entropy(near, place, months),
        ratio(_table(near, place, months, free), _table(near, place, months, timed)),
        ratio(_table(out, place_out, months, moved), _table(out, place_out, months, out.events.amount)),
    ]
    return _observed(values, span_months(history), count)


def history_at(history: History, rows: Ints) -> History:
    """The history of some of the rows."""
    return History(**{f.name: getattr(history, f.name)[rows] for f in fields(history)})


def span_months(history: History) -> Ints:
    """Months from the customer's first snapshot in the history to the cutoff's, both included [R]."""
    known = ~np.isnan(history.products_by_month)
    return np.where(known.any(axis=1), known.shape[1] - known[:, ::-1].argmax(axis=1), 0)


def _observed(values: list[Floats], length: Ints, count: Floats) -> Observed:
    sequences = Sequences(np.stack(values, axis=2), length)
    return Observed(sequences, np.where(sequences.live.T, count, 0.0).sum(axis=1))


def _places(w: Window, days: int) -> Ints:
    """Row and step of every event as one number, oldest step first [E]; the window is whole steps wide."""
    steps = w.days // days
    return w.row * steps + (steps - 1 - w.age // days)


def _table(w: Window, place: Ints, steps: int, weight: Floats | Bools | None = None) -> Floats:
    weights = None if weight is None else weight.astype(np.float64)
    return per_row(place, len(w) * steps, weights).reshape(len(w), steps)


def _first_of(place: Ints, value: Ints) -> Bools:
    """The first event of each (place, value) [E]."""
    order = np.lexsort((value, place))
    fresh = np.ones(len(place), dtype=np.bool_)
    a, b = place[order], value[order]
    fresh[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    out = np.empty_like(fresh)
    out[order] = fresh
    return out


def _new_categories(w: Window, weeks: int) -> Floats:
    """Categories used in each week for the first time in the window [R, weeks]; events lie oldest first."""
    fresh = w.where(_first_of(w.row, w.events.mcc.astype(np.int64))).last(weeks * WEEK)
    return _table(fresh, _places(fresh, WEEK), weeks)


def _days_since(w: Window, weeks: int) -> Floats:
    """Days from the last purchase to each week's last day [R, weeks], capped where the oldest week's sight ends."""
    cap = LOOKBACK_DAYS - weeks * WEEK
    newest = np.full((len(w), weeks), -np.inf)
    week = np.maximum(weeks - 1 - w.age // WEEK, 0)
    np.maximum.at(newest, (w.row, week), -w.age.astype(np.float64))
    end = -WEEK * (weeks - 1 - np.arange(weeks))
    return np.minimum(end - np.maximum.accumulate(newest, axis=1), cap)


def _category_entropy(w: Window, place: Ints, steps: int) -> Floats:
    """-sum p ln p over the categories of each step's purchases; 0 without any."""
    code = place * 256 + w.events.mcc
    used, count = np.unique(code, return_counts=True)
    total = per_row(place, len(w) * steps)
    share = count / total[used // 256]
    return per_row(used // 256, len(w) * steps, -share * np.log(share)).reshape(len(w), steps)


def _last_known(values: Floats) -> Floats:
    """NaN replaced by the newest known value before it [R, T], oldest first."""
    known = np.where(np.isnan(values), 0, np.arange(values.shape[1])[None, :])
    return np.take_along_axis(values, np.maximum.accumulate(known, axis=1), axis=1)
