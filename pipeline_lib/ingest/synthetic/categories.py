"""Which category a purchase falls in: the persona's law tilted by the consumption situation, taste, and habit.

With probability ``sticky`` a purchase repeats the category of the one before, also across months. Source: data.md
8.3, 8.4. Taste is our own [C]: with probability ``taste`` a purchase falls in the customer's favourite level-2 group,
which is another one in a month of ``mood``. Without it customers of a persona are alike and a month's leading group is
mostly chance: it changes for 77 % of them, where data.md 6.2 expects 25-45 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline_lib.errors import SettingsError
from pipeline_lib.ingest.synthetic import taxonomy
from pipeline_lib.ingest.synthetic.choice import zipf
from pipeline_lib.ingest.synthetic.laws import Bools, Floats, Ints, Laws

NEVER = -1
"""Last category of a customer who has bought nothing yet."""


@dataclass(frozen=True)
class CategoryLaws:
    """C categories, K personas, S consumption situations."""

    cumulative: Floats
    """(K * S, C), row persona * S + situation."""
    situations: int
    favourite: Floats
    """Law inside each level-2 group, (K * L, C), row persona * L + group."""
    group_mass: Floats
    """Mass of each level-2 group, (K, L)."""
    pooled: Floats
    """Share of each category in all customers' purchases, situations and taste aside, (C,)."""
    ln_mean: Floats
    """Mean of ln amount by persona and category, (K, C)."""
    ln_sd: Floats


def build(laws: Laws) -> CategoryLaws:
    """Raises SettingsError for a leading category outside the taxonomy."""
    codes, leading = taxonomy.codes(), laws.policy.leading_mcc
    if unknown := sorted(leading.keys() - set(codes)):
        raise SettingsError(f"synthetic.yaml: leading_mcc: codes {unknown} are not in the taxonomy")
    table = np.array(list(leading.values()))  # (30, K + 2)
    at = np.array([codes.index(code) for code in leading])
    rest = np.setdiff1d(np.arange(len(codes)), at)
    personas = len(laws.persona_names)
    law = np.zeros((personas, len(codes)))
    law[:, at] = table[:, :personas].T / 100.0
    law[:, rest] = (1.0 - law.sum(axis=1))[:, None] * zipf(len(rest), laws.policy.events.residual_zipf)
    amount = laws.persona("ln_amount")
    ln_mean, ln_sd = np.tile(amount[:, :1], len(codes)), np.tile(amount[:, 1:], len(codes))
    ln_mean[:, at], ln_sd[:, at] = table[:, personas], table[:, personas + 1]
    tilted = np.stack([_tilted(laws, law, name) for name in laws.policy.situations["consumption"]], axis=1)
    member = _membership()
    inside = law[:, None, :] * member[None]  # (K, L, C)
    return CategoryLaws(
        cumulative=_cumulative(tilted),
        situations=tilted.shape[1],
        favourite=_cumulative(inside),
        group_mass=law @ member.T,
        pooled=laws.persona_share @ law,
        ln_mean=ln_mean,
        ln_sd=ln_sd,
    )


def _cumulative(law: Floats) -> Floats:
    rows = np.cumsum(law, axis=-1).reshape(-1, law.shape[-1])
    return np.asarray(rows / rows[:, -1:])


def _membership() -> Floats:
    """1 where a code belongs to a level-2 group, (L, C); groups in the order of the taxonomy."""
    level = {code: l2 for code, l2, _ in taxonomy.rows()}
    names = list(dict.fromkeys(level.values()))
    return np.array([[float(level[code] == name) for code in taxonomy.codes()] for name in names])


def _tilted(laws: Laws, law: Floats, situation: str) -> Floats:
    """(K, C) of one consumption situation."""
    out = law.copy()
    rows = np.arange(len(law))
    first, second = np.argsort(-law, axis=1, kind="stable")[:, :2].T
    if situation == "exploring":
        out **= laws.policy.events.exploring_power
    elif situation == "focusing":
        out[rows, first] *= laws.policy.events.focusing_factor
    elif situation == "switching":
        out = _leading_groups_swapped(law)
    return np.asarray(out / out.sum(axis=1, keepdims=True))


def _leading_groups_swapped(law: Floats) -> Floats:
    """The two level-2 groups of largest mass exchange their mass."""
    member = _membership()
    mass, group = law @ member.T, np.argmax(member, axis=0)
    out = law.copy()
    for persona, (a, b) in enumerate(np.argsort(-mass, axis=1, kind="stable")[:, :2]):
        out[persona, group == a] *= mass[persona, b] / mass[persona, a]
        out[persona, group == b] *= mass[persona, a] / mass[persona, b]
    return out


def favourites(rng: np.random.Generator, law: CategoryLaws, persona: Ints) -> Ints:
    """A favourite level-2 group per customer by the persona's masses, (N,)."""
    return draw(rng, _cumulative(law.group_mass), persona)


def draw(rng: np.random.Generator, cumulative: Floats, row: Ints) -> Ints:
    """A fresh category for every purchase; ``row`` of a cumulative table, (M,)."""
    size = cumulative.shape[1]
    flat = (cumulative + np.arange(len(cumulative))[:, None]).ravel()
    at = np.searchsorted(flat, row + rng.random(len(row)), side="right") - row * size
    return np.asarray(np.minimum(at, size - 1), dtype=np.int64)


def with_habit(fresh: Ints, repeats: Bools, first: Bools, before: Ints) -> Ints:
    """Repeat the previous category where ``repeats``.

    Args:
        fresh: category of every purchase if it is not a repetition, by customer and time, (M,).
        first: the customer's first purchase of the month.
        before: the customer's last category of earlier months, or NEVER, (M,).
    """
    opens = first & repeats & (before != NEVER)
    own = np.where(opens, before, fresh)
    anchor = ~repeats | first
    last = np.maximum.accumulate(np.where(anchor, np.arange(len(fresh)), 0))
    return np.asarray(own[last])
