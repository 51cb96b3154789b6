"""One month of the event stream: purchases, withdrawals and transfers, in time order per customer.

Source: data.md 8.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from scipy import special

from pipeline_lib.ingest.synthetic import categories, latents, merchants, taxonomy
from pipeline_lib.ingest.synthetic.block import State
from pipeline_lib.ingest.synthetic.categories import CategoryLaws
from pipeline_lib.ingest.synthetic.customers import Customers
from pipeline_lib.ingest.synthetic.laws import Bools, Floats, Ints, Laws
from pipeline_lib.ingest.synthetic.merchants import MerchantLaws
from pipeline_lib.ingest.synthetic.months import Month
from pipeline_lib.ingest.synthetic.seeds import stream

TYPES = ("card_purchase", "card_refund", "cash_withdrawal", "deposit_inflow", "transfer_out")
PURCHASE, REFUND, WITHDRAWAL, INFLOW, TRANSFER = range(len(TYPES))
SIGNS = np.array([-1.0, 1.0, -1.0, 1.0, -1.0])
UNKNOWN = len(taxonomy.codes())
"""Category of what is not a card event."""
CHANNELS = ("pos", "online", "atm", "branch", "app")
DAY_US = 86_400_000_000
QUARTER_US = DAY_US // 4
MIN_AMOUNT = 0.01


@dataclass(frozen=True)
class Batch:
    """M events of one block and month."""

    customer: Ints
    """Position in the block."""
    time: Ints
    """Microseconds from midnight of the window's first day."""
    kind: Ints
    """Position in TYPES."""
    category: Ints
    amount: Floats
    channel: Ints
    """Position in CHANNELS."""
    merchant: Ints
    """Number of the merchant, or NOWHERE."""


def stream_of_month(
    laws: Laws,
    law: CategoryLaws,
    shops: MerchantLaws,
    customers: Customers,
    state: State,
    favourites: Ints,
    last: Ints,
) -> tuple[Batch, Ints]:
    """Events of the month's stream and the customers' new last categories.

    Args:
        favourites: level-2 group of each customer, and that of those who switch, (N, 2).
        last: category of each customer's last purchase, or NEVER, (N,).
    """
    policy = laws.policy.events
    rng = stream(customers.seed, "purchases", customers.block, state.month.index)
    who = np.repeat(np.arange(len(customers)), np.where(state.present, state.spending.events, 0))
    time = _times(laws, rng, customers.persona[who], state.month)
    time = _in_order(who, time)
    uniform = rng.random(len(who))
    card = uniform >= policy.withdrawal.share + policy.transfer.share
    kind = np.where(card, PURCHASE, np.where(uniform < policy.withdrawal.share, WITHDRAWAL, TRANSFER))
    category = np.full(len(who), UNKNOWN, dtype=np.int64)
    category[card] = _purchased(laws, law, rng, customers, state.month, who[card], last, favourites)
    merchant = np.full(len(who), merchants.NOWHERE, dtype=np.int64)
    merchant[card] = merchants.visited(laws, shops, customers, state.month.index, who[card], category[card])
    batch = Batch(
        customer=who,
        time=time,
        kind=kind,
        category=category,
        amount=_amounts(laws, law, rng, customers.persona[who], kind, category, state, who),
        channel=_channels(laws, rng, kind, state, who),
        merchant=merchant,
    )
    return batch, _last(last, who[card], category[card])


def _times(laws: Laws, rng: np.random.Generator, persona: Ints, month: Month) -> Ints:
    """Day by weekday weight, quarter of the day by persona, uniform inside it [us], (M,)."""
    weekday = np.array([(month.first_day + timedelta(days=d)).weekday() for d in range(month.days)])
    weight = np.array(laws.policy.events.weekday_weights)[weekday]
    day = np.searchsorted(np.cumsum(weight) / weight.sum(), rng.random(len(persona)), side="right")
    parts = np.cumsum(laws.persona("day_parts"), axis=1)
    uniform = rng.random(len(persona))
    quarter = np.sum(uniform[:, None] >= (parts / parts[:, -1:])[persona][:, :3], axis=1)
    within = (rng.random(len(persona)) * QUARTER_US).astype(np.int64)
    return np.asarray(np.minimum(day, month.days - 1) * DAY_US + quarter * QUARTER_US + within)


def _in_order(who: Ints, time: Ints) -> Ints:
    """Times ascending within each customer; ``who`` is ascending already."""
    span = np.int64(64) * DAY_US
    return np.asarray(np.sort(who * span + time) - who * span)


def _purchased(
    laws: Laws,
    law: CategoryLaws,
    rng: np.random.Generator,
    customers: Customers,
    month: Month,
    who: Ints,
    last: Ints,
    favourites: Ints,
) -> Ints:
    """Categories of the purchases: a situation's law holds with the probability its ramp has reached."""
    names = list(laws.policy.situations["consumption"])
    persona = customers.persona[who]
    tilted = rng.random(len(who)) < latents.ramp(laws, month.index)
    situation = np.where(tilted, customers.situation["consumption"][who], 0)
    common = categories.draw(rng, law.cumulative, persona * law.situations + situation)
    of_month = _favourites_of_month(laws, law, customers, month, favourites)
    group = of_month[who, (situation == names.index("switching")).astype(np.int64)]
    own = categories.draw(rng, law.favourite, persona * law.group_mass.shape[1] + group)
    fresh = np.where(rng.random(len(who)) < laws.policy.events.taste, own, common)
    repeats = rng.random(len(who)) < laws.policy.events.sticky
    return categories.with_habit(fresh, repeats, _firsts(who), last[who])


def _favourites_of_month(laws: Laws, law: CategoryLaws, customers: Customers, month: Month, favourites: Ints) -> Ints:
    """The customers' favourites, but for those in a mood, (N, 2)."""
    rng = stream(customers.seed, "taste", customers.block, month.index)
    mood = rng.random(len(customers)) < laws.policy.events.mood
    other = categories.favourites(rng, law, customers.persona)
    return np.asarray(np.where(mood[:, None], other[:, None], favourites))


def _amounts(
    laws: Laws,
    law: CategoryLaws,
    rng: np.random.Generator,
    persona: Ints,
    kind: Ints,
    category: Ints,
    state: State,
    who: Ints,
) -> Floats:
    """Lognormal amounts to the cent [EUR], (M,)."""
    policy = laws.policy.events
    wealth = state.latents[:, laws.policy.latents.index("wealth")][who]
    known = np.minimum(category, UNKNOWN - 1)
    mean, sd = law.ln_mean[persona, known], law.ln_sd[persona, known]
    for number, booking in ((WITHDRAWAL, policy.withdrawal), (TRANSFER, policy.transfer)):
        mean, sd = np.where(kind == number, booking.ln_mean, mean), np.where(kind == number, booking.ln_sd, sd)
    amount = np.exp(mean + policy.amount_wealth_power * wealth + sd * rng.standard_normal(len(who)))
    return np.asarray(np.maximum(np.round(amount, 2), MIN_AMOUNT))


def _channels(laws: Laws, rng: np.random.Generator, kind: Ints, state: State, who: Ints) -> Ints:
    policy = laws.policy.events
    digital = state.latents[:, laws.policy.latents.index("digital")][who]
    online = rng.random(len(who)) < special.expit(policy.online_intercept + digital)
    out = np.where(online, CHANNELS.index("online"), CHANNELS.index("pos"))
    for number, booking in ((WITHDRAWAL, policy.withdrawal), (TRANSFER, policy.transfer)):
        out = np.where(kind == number, CHANNELS.index(booking.channel), out)
    return np.asarray(out)


def _firsts(who: Ints) -> Bools:
    """True at each customer's first event; ``who`` is ascending."""
    out = np.ones(len(who), dtype=bool)
    out[1:] = who[1:] != who[:-1]
    return out


def _last(last: Ints, who: Ints, category: Ints) -> Ints:
    out = last.copy()
    if len(who):
        ends = np.flatnonzero(np.append(who[1:] != who[:-1], True))
        out[who[ends]] = category[ends]
    return out
