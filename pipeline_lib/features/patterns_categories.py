"""Which categories a customer takes up, keeps and leaves in 90 days. Source: features.md 10.

W1, W2, W3 are the oldest, middle and newest 30 days. "Before" reaches back 360 days.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline_lib.features.columns import Floats, Values, ratio
from pipeline_lib.features.stream import Window

RECENT, DAYS, WEEK = 30, 90, 7
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Use:
    """Purchases by row and category; ages in days before the cutoff."""

    w1: Counts
    """[R, M]."""
    w2: Counts
    w3: Counts
    before: Counts
    """Older than 90 days."""
    first: Counts
    """Age of the first purchase within 360 days, -1 = none [R, M]."""
    span: Counts
    """Days from the first to the last purchase within 90 days [R, M]."""

    @classmethod
    def of(cls, year: Window, categories: int) -> Use:
        """From the purchases of 360 days."""
        shape, age = (len(year), categories), year.age.astype(np.int64)
        place = year.row * categories + year.events.mcc
        slot = np.minimum(age // RECENT, DAYS // RECENT)
        counts = np.bincount(place * 4 + slot, minlength=len(year) * categories * 4).reshape(*shape, 4)
        near = age < DAYS
        oldest, newest = _largest(place[near], age[near], shape), _largest(place[near], -age[near], shape, -DAYS)
        w3, w2, w1, before = np.moveaxis(counts, 2, 0)
        return cls(w1, w2, w3, before, _largest(place, age, shape), np.maximum(oldest + newest, 0))

    @property
    def active(self) -> npt.NDArray[np.bool_]:
        return (self.w1 + self.w2 + self.w3) > 0


def _largest(place: Counts, age: Counts, shape: tuple[int, int], none: int = -1) -> Counts:
    out = np.full(shape[0] * shape[1], none, dtype=np.int64)
    np.maximum.at(out, place, age)
    return out.reshape(shape)


def category_patterns(use: Use, top: npt.NDArray[np.int64]) -> Values:
    """The seven columns made of category use; ``top`` are the categories most used on train.

    "Share" is of the categories active in 90 days unless the name says otherwise.
    """
    older = use.w1 + use.w2
    new = (use.w3 > 0) & (older + use.before == 0)
    back = (use.w1 > 0) & (use.w2 == 0) & (use.w3 > 0)
    risen = 2 * use.w3 > older  # more than in 30 average days of the 60 before
    left = (older > 0) & (use.w3 == 0)
    return {
        "chem_new_category_activation_rate": _share(new, use.active),
        "chem_dormancy_reactivation_rate": _share(back, use.w1 > 0),
        "epi_sir_susceptible": 1.0 - use.active[:, top].mean(axis=1),
        "epi_sir_infected": _share(risen, use.active),
        "epi_sir_recovered": _share(left, use.active),
        "epi_max_weekly_new_mcc": _most_new_in_a_week(use),
        "epi_category_lifecycle_mean": ratio(_count(use.span), _count(use.active)),
    }


def _most_new_in_a_week(use: Use) -> Floats:
    """Weeks are counted back from the cutoff; a category is new in the week of its first use within 360 days."""
    row, _ = fresh = np.nonzero((use.first >= 0) & (use.first < DAYS))
    weeks = -(-DAYS // WEEK)
    counts = np.bincount(row * weeks + use.first[fresh] // WEEK, minlength=len(use.first) * weeks)
    most: Floats = counts.reshape(-1, weeks).max(axis=1).astype(np.float64)
    return most


def _share(part: npt.NDArray[np.bool_], whole: npt.NDArray[np.bool_]) -> Floats:
    return ratio(_count(part), _count(whole))


def _count(values: npt.NDArray[np.bool_] | Counts) -> Floats:
    total: Floats = values.sum(axis=1).astype(np.float64)
    return total
