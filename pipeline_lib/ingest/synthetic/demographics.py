"""Profiles: correlated normals through each persona's inverse laws (a Gaussian copula). Source: data.md 8.3."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from pipeline_lib.ingest.synthetic.choice import categorical, zipf
from pipeline_lib.ingest.synthetic.customers import Customers
from pipeline_lib.ingest.synthetic.laws import Bools, Floats, Ints, Laws
from pipeline_lib.ingest.synthetic.seeds import stream

MIN_AGE, MAX_AGE = 18.0, 100.0
MAX_TENURE = 256


@dataclass(frozen=True)
class Demographics:
    age: Floats
    """Years at month 0, with fraction, (N,)."""
    income: Floats
    """Gross yearly income, known or not [EUR]."""
    income_known: Bools
    tenure: Ints
    """Months of tenure at month 0; a customer who enters later as new counts from the entry."""
    tenure_known: Bools
    products_score: Floats
    activity_score: Floats
    """Standard normal scores of the copula."""
    male: Bools
    country: Ints
    """0 is the home country, then the position in ``other_countries`` + 1."""
    province: Ints
    channel: Ints
    foreign_born: Bools
    employee: Bools


def draw(laws: Laws, customers: Customers) -> Demographics:
    """One block's profiles."""
    law = laws.policy.demographics
    rng = stream(customers.seed, "demographics", customers.block)
    size, who = len(customers), customers.persona
    scores = rng.standard_normal((size, 5)) @ np.linalg.cholesky(np.array(law.copula)).T  # (N, 5)
    wealth = customers.base[:, laws.policy.latents.index("wealth")]
    ln_income = laws.persona("ln_income")[who]
    income = np.exp(ln_income[:, 0] + ln_income[:, 1] * scores[:, 1] + law.income_wealth_power * wealth)
    shape = laws.persona("tenure_gamma")[who]
    tenure = special.gammaincinv(shape[:, 0], special.ndtr(scores[:, 2])) * shape[:, 1]
    country = np.where(
        rng.random(size) < law.home_share,
        0,
        1 + categorical(rng.random(size), zipf(len(law.other_countries), law.zipf)),
    )
    province = _provinces(law.leading_provinces, law.provinces)
    return Demographics(
        age=_truncated_normal(scores[:, 0], *laws.persona("age")[who].T),
        income=np.asarray(np.round(income, 2), dtype=np.float64),
        income_known=rng.random(size) >= laws.persona("income_missing")[who],
        tenure=np.minimum(tenure, MAX_TENURE).astype(np.int64),
        tenure_known=rng.random(size) >= law.tenure_unknown,
        products_score=scores[:, 3],
        activity_score=scores[:, 4],
        male=rng.random(size) < law.male_share,
        country=country,
        province=np.where(country == 0, province[categorical(rng.random(size), zipf(law.provinces, law.zipf))], 0),
        channel=categorical(rng.random(size), zipf(law.channels, law.zipf)),
        foreign_born=rng.random(size) < law.foreign_born,
        employee=rng.random(size) < law.employee_share,
    )


def _truncated_normal(score: Floats, mean: Floats, sd: Floats) -> Floats:
    """A standard normal score mapped to N(mean, sd) truncated to the ages the bank accepts."""
    low, high = special.ndtr((MIN_AGE - mean) / sd), special.ndtr((MAX_AGE - mean) / sd)
    return np.asarray(mean + sd * stats.norm.ppf(low + special.ndtr(score) * (high - low)))


def _provinces(leading: list[int], count: int) -> Ints:
    """Province codes in order of frequency."""
    others = [code for code in range(1, count + 1) if code not in leading]
    return np.array([*leading, *others], dtype=np.int64)
