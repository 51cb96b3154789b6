"""Where a purchase is made: one of the category's merchants, by popularity or because the customer always goes there.

[C] The specification asks for merchants and gives no law. Ours: every category has a number of merchants that grows
with its share of all purchases; their popularity falls as a power of the rank (Zipf); each customer has a few
favourites in each category, drawn once by popularity, and goes to one of them with probability ``loyalty``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.ingest.synthetic import taxonomy
from pipeline_lib.ingest.synthetic.choice import zipf
from pipeline_lib.ingest.synthetic.customers import Customers
from pipeline_lib.ingest.synthetic.laws import Floats, Ints, Laws
from pipeline_lib.ingest.synthetic.seeds import stream

NOWHERE = -1
"""Merchant of what is not a card event."""
Words = NDArray[np.uint64]


@dataclass(frozen=True)
class MerchantLaws:
    """M merchants, numbered through all categories."""

    names: tuple[str, ...]
    """Raw id of each merchant, (M,)."""
    first: Ints
    """Number of each category's first merchant, (C,)."""
    cumulative: Floats
    """Category + cumulative popularity inside it, ascending, (M,)."""


def build(laws: Laws, mass: Floats) -> MerchantLaws:
    """Merchants of every category; ``mass`` is each category's share of all purchases, (C,)."""
    law = laws.policy.events.merchants
    count = np.maximum(np.round(law.count * mass).astype(np.int64), law.at_least)
    names = [f"{code}-{i:05d}" for code, size in zip(taxonomy.codes(), count, strict=True) for i in range(size)]
    return MerchantLaws(
        names=tuple(names),
        first=np.cumsum(count) - count,
        cumulative=np.concatenate([c + np.cumsum(zipf(int(size), law.zipf)) for c, size in enumerate(count)]),
    )


def visited(laws: Laws, law: MerchantLaws, customers: Customers, month: int, who: Ints, category: Ints) -> Ints:
    """Merchant of every purchase of the month.

    Args:
        who: position in the block, (M,).
        category: (M,).
    """
    policy = laws.policy.events.merchants
    rng = stream(customers.seed, "merchants", customers.block, month)
    loyal = rng.random(len(who)) < policy.loyalty
    slot = rng.integers(0, policy.favourites, len(who))
    own = _uniform(_words(customers)[who], category * policy.favourites + slot)
    return _at(law, category, np.where(loyal, own, rng.random(len(who))))


def _at(law: MerchantLaws, category: Ints, uniform: Floats) -> Ints:
    """Merchant whose interval of popularity the uniform falls in, (M,)."""
    last = np.append(law.first[1:], len(law.names)) - 1
    found = np.searchsorted(law.cumulative, category + uniform, side="right")
    return np.asarray(np.clip(found, law.first[category], last[category]))


def _words(customers: Customers) -> Words:
    """A random word of each customer: the seed of his favourites, (N,)."""
    rng = stream(customers.seed, "merchants", customers.block)
    return rng.integers(0, 2**64, len(customers), dtype=np.uint64)


def _uniform(word: Words, key: Ints) -> Floats:
    """The same number in [0, 1) for the same word and key: no table of every customer's favourites is kept.

    Source: SplitMix64, Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", figure 17.
    """
    mixed = word + (key.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11), dtype=np.float64) * 2.0**-53
