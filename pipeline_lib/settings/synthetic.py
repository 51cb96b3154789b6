"""The laws of the synthetic bank: ``config/synthetic.yaml``. Size and seed are parameters of the source."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipeline_lib.settings.base import Section

Share = Annotated[float, Field(ge=0, le=1)]
Pair = Annotated[list[float], Field(min_length=2, max_length=2)]
Family = Literal["savings", "accounts", "deposits", "investments", "credit", "payments"]
OBSERVABLES = ("np", "frq", "rec", "act", "chn", "ten", "inc", "spd", "mon", "stb")
INDICES = ("churn", "deposits", "investments", "accounts", "lending", "payments", "other")
TOLERANCE = 1e-6


class Persona(Section):
    """One kind of customer. Names are handles, not descriptions. Source: data.md 8.3."""

    share: Share
    """Share of customers under ``mix: santander``."""
    behaviour_weight: Share
    """Share of customers under ``mix: behaviour``; normalised to sum 1."""
    latent_mean: list[float]
    """Mean of each latent, in the order of ``latents``."""
    age: Pair
    """Mean and sd of a normal law truncated to 18-100 [years]."""
    ln_income: Pair
    """Mean and sd of ln gross yearly income [ln EUR]."""
    income_missing: Share
    tenure_gamma: Pair
    """Shape and scale of tenure [months]."""
    active: Share
    """Probability of the active flag."""
    segment: Annotated[list[Share], Field(min_length=4, max_length=4)]
    """Probabilities of TOP, PARTICULARES, UNIVERSITARIO, UNKNOWN."""
    events_per_month: float = Field(gt=0)
    """Design intensity [events per month]."""
    ln_amount: Pair
    """Mean and sd of ln amount over all categories [ln EUR]."""
    day_parts: Annotated[list[Share], Field(min_length=4, max_length=4)]
    """Weights of the hours 0-5, 6-11, 12-17, 18-23."""
    multipliers: dict[Family, float]
    """Factor on the odds of holding and adding a product of the family."""
    bias: dict[str, float]
    """Persona's part of each latent index."""

    @model_validator(mode="after")
    def _consistent(self) -> Persona:
        if abs(sum(self.segment) - 1) > TOLERANCE:
            raise ValueError(f"segment probabilities sum to {sum(self.segment)}, expected 1")
        return self


class Blocks(Section):
    customers: int = Field(ge=1)
    """Customers simulated together: the unit of seeds and of memory."""
    burn_in_months: int = Field(ge=0)
    """Months simulated before the first snapshot."""


class Demographics(Section):
    copula: list[list[float]]
    """Correlation of age, income, tenure, num_products, activity."""
    male_share: Share
    tenure_unknown: Share
    income_wealth_power: float
    """Income is multiplied by exp(this x wealth)."""
    home_country: str = Field(pattern="^[A-Z]{2}$")
    home_share: Share
    other_countries: list[str]
    """ISO 3166 codes in order of frequency."""
    foreign_born: Share
    employee_share: Share
    channels: int = Field(ge=1, le=676)
    """Number of join channels."""
    provinces: int = Field(ge=1, le=99)
    leading_provinces: list[int]
    """Province codes in order of frequency; the others follow in code order."""
    zipf: float = Field(gt=0)
    """Exponent of the law of channels, provinces and countries."""
    activity_persistence: Share
    """Share of the variance of the active flag's score that never changes for a customer."""


class LatentPath(Section):
    """z0 = persona_weight (mean + N(0, persona_variance I)) + own_weight N(0, I), then AR(1). Source: data.md 8.4."""

    persona_weight: float
    persona_variance: float = Field(ge=0)
    own_weight: float
    persistence: Share
    """Monthly AR(1) coefficient of the deviation."""
    stationary_sd: float = Field(ge=0)
    """Standard deviation of the deviation in the long run."""


class Spending(Section):
    """ln S_t = m_i + s(t) + a_t. Source: data.md 8.4."""

    persistence: Share
    """AR(1) coefficient phi of a_t."""
    persistence_by_persona: dict[str, float]
    stationary_sd: float = Field(ge=0)
    seasonal_year: float
    seasonal_half: float
    """Amplitudes of s(t) [ln]."""
    activity_power: float
    """Event rate is multiplied by exp(this x activity)."""


class Booking(Section):
    """Events of the stream that are not card payments: no category."""

    share: Share
    """Of the event stream [0..1]."""
    ln_mean: float
    ln_sd: float = Field(ge=0)
    """Law of ln amount [ln EUR]."""
    channel: str


class Salary(Section):
    per_year: int = Field(ge=1)
    """A salary is income / this."""
    double_months: list[int]
    noise: float = Field(ge=0)
    """Relative sd."""
    days: Annotated[list[int], Field(min_length=2, max_length=2)]
    """First and last day of the calendar month on which it can arrive; a customer keeps one; at most 28."""
    products: list[str]
    """Holding any of these, or activity > 0, means that a salary arrives."""


class Windfall(Section):
    per_month: float = Field(ge=0)
    """Mean number per customer and month."""
    ln_mean: float
    ln_sd: float = Field(ge=0)


class Merchants(Section):
    """Where purchases are made. The law is our own choice; see ``ingest/synthetic/merchants.py``."""

    count: int = Field(ge=1)
    """Merchants of all categories together, each category by its share of purchases."""
    at_least: int = Field(ge=1)
    """Merchants of the smallest category."""
    zipf: float = Field(gt=0)
    """Exponent of the popularity by rank inside a category."""
    favourites: int = Field(ge=1)
    """Merchants that a customer always goes back to, in each category."""
    loyalty: Share
    """Probability that a purchase is made at one of them."""


class Events(Section):
    sticky: Share
    """Probability that a purchase repeats the category of the one before."""
    taste: Share
    """Probability that a purchase which repeats nothing falls in the customer's favourite level-2 group."""
    mood: Share
    """Probability per customer-month that the favourite is another one."""
    weekday_weights: Annotated[list[float], Field(min_length=7, max_length=7)]
    """Monday first."""
    amount_wealth_power: float
    online_intercept: float
    """P(online | card) = logistic(this + digital)."""
    residual_zipf: float
    """Exponent of the law of categories outside ``leading_mcc``, in code order."""
    exploring_power: float = Field(gt=0, le=1)
    focusing_factor: float = Field(ge=1)
    refund_share: Share
    """Of purchases."""
    refund_days: Annotated[list[int], Field(min_length=2, max_length=2)]
    """Delay of a refund, first and last [d]."""
    merchants: Merchants
    withdrawal: Booking
    transfer: Booking
    salary: Salary
    windfall: Windfall


class ProductLaw(Section):
    prevalence: float = Field(gt=0, lt=1)
    add_share: float = Field(gt=0, lt=1)
    """Relative frequency among monthly additions."""
    min_tenure: int = Field(ge=0)
    """Months of tenure before it can be added [months]."""
    family: Family


class Holdings(Section):
    extra_products: float = Field(ge=0)
    """An addition event brings 1 + Poisson(this) products."""
    shared_noise: Share
    """Share of the noise variance that all groups of one customer-month have in common."""
    season: dict[int, float]
    """Calendar month -> factor on the addition rates."""
    churn_drop: Pair
    """Share of holdings a partial churn gives up, from and to."""
    churn_rule: Share
    """A relation is lapsed when holdings are below this x their 12-month mean; same figure as the churn label's."""
    full_closure: Share
    """Share of churns that close every product."""
    replaced: Share
    """Probability that an added product replaces one held before."""
    attrition: Share
    """Monthly hazard per held product; acts only where the churn rule stays quiet."""
    start_products_power: float

    @model_validator(mode="after")
    def _churn_fires(self) -> Holdings:
        if 1 - self.churn_drop[0] >= self.churn_rule:
            raise ValueError(
                f"churn_drop {self.churn_drop} from below 1 - churn_rule {self.churn_rule}: no label fires"
            )
        return self


class Panel(Section):
    rows: list[int]
    """Rows of the first snapshots of the real set; row / last row is the share of customers who have entered."""
    jump_month: int = Field(ge=1)
    """Month (first = 1) whose entrants are old customers."""
    exit_hazard: Share
    """Per month."""
    gap_share: Share
    """Share of customer-months without a row."""


class Term(Section):
    weight: float
    of: list[str]
    """Observables that are multiplied; ``~x`` is 1 - x."""

    @field_validator("of")
    @classmethod
    def _known(cls, factors: list[str]) -> list[str]:
        if unknown := [f for f in factors if f.removeprefix("~") not in OBSERVABLES]:
            raise ValueError(f"observables {unknown} do not exist; known: {', '.join(OBSERVABLES)}")
        return factors


class Index(Section):
    observed: list[Term]
    latent: dict[str, float]
    bias: float
    """Weight of the persona's bias."""


class Budget(Section):
    """Shares of an index's variance, and noise on the event itself. Source: data.md 8.6."""

    observed: Share
    latent: Share
    noise: Share
    flip: Share
    """q: a true event is lost with probability q; non-events become events so that the rate is kept."""

    @model_validator(mode="after")
    def _whole(self) -> Budget:
        if abs(self.observed + self.latent + self.noise - 1) > TOLERANCE:
            raise ValueError(f"observed {self.observed} + latent {self.latent} + noise {self.noise} must be 1")
        return self


class Preset(Section):
    churn: Budget
    additions: Budget


class Dirt(Section):
    """How dirty raw files are under ``dirt: realistic``: shares of rows. Source: data.md 2."""

    early_months: int = Field(ge=0)
    """First months whose profiles were filled in afterwards."""
    profile_absent: Share
    """Customers whose profile is absent in those months."""
    payroll_blank: Share
    """Of the rows without profile, those whose two payroll flags are blank."""
    blank: dict[str, Share]
    """Raw column -> share of rows without a value, beside the rows without profile."""
    primary_lost: Share
    """Customers who stop being primary in the course of the month."""
    age_impossible: Share
    """Ages outside 18-100."""
    float_form: Share
    """Codes written as ``1.0``."""
    potential: Share
    """Customers of type P."""
    income_zero: Share
    """Of the missing incomes, those stored as 0."""
    tenure_sentinel: Share
    """Of the unknown tenures, those stored as -999999."""
    sent_again: Share
    """Rows that are in the file twice."""


class Synthetic(Section):
    latents: list[str]
    blocks: Blocks
    mix: Literal["santander", "behaviour"]
    """Which weights of the personas hold. Source: data.md R11."""
    personas: dict[str, Persona]
    demographics: Demographics
    situations: dict[str, dict[str, Share]]
    """Axis -> situation -> share; the first situation of an axis changes nothing."""
    shifts: dict[str, dict[str, dict[str, float]]]
    """Axis -> situation -> latent -> shift at the end of the ramp."""
    volatile_activity: float
    shock_wealth: float
    """Sizes of the two shifts with a random sign."""
    ramp_months: Annotated[list[int], Field(min_length=2, max_length=2)]
    """First and last month of the ramp; the first snapshot is month 1."""
    latent_path: LatentPath
    spending: Spending
    events: Events
    leading_mcc: dict[str, list[float]]
    """Code -> probability [%] per persona, then mean and sd of ln amount."""
    products: dict[str, ProductLaw]
    substitutes: list[list[str]]
    complements: list[list[str]]
    complement_odds: float = Field(gt=0)
    substitute_odds: float = Field(gt=0)
    holdings: Holdings
    panel: Panel
    indices: dict[str, Index]
    rates: dict[str, dict[str, Share]]
    """Preset of rates -> index -> monthly rate per customer. Source: data.md 6.2."""
    presets: dict[str, Preset]
    """Difficulty. Source: data.md 8.6."""
    dirt: Dirt

    @model_validator(mode="after")
    def _consistent(self) -> Synthetic:
        for axis, situations in self.situations.items():
            if abs(sum(situations.values()) - 1) > TOLERANCE:
                raise ValueError(f"situations.{axis}: shares sum to {sum(situations.values())}, expected 1")
        named = {"indices": set(self.indices)} | {f"rates.{key}": set(table) for key, table in self.rates.items()}
        for name, found in named.items():
            if found != set(INDICES):
                raise ValueError(f"{name}: expected {sorted(INDICES)}, found {sorted(found)}")
        for code, row in self.leading_mcc.items():
            if len(row) != len(self.personas) + 2:
                raise ValueError(f"leading_mcc.{code}: {len(row)} numbers, expected one per persona and two")
        for name, persona in self.personas.items():
            if len(persona.latent_mean) != len(self.latents):
                raise ValueError(f"personas.{name}: latent_mean has not one value per latent {self.latents}")
        known = set(self.products)
        for pair in [*self.substitutes, *self.complements, self.events.salary.products]:
            if unknown := sorted(set(pair) - known):
                raise ValueError(f"products {unknown} have no law")
        return self
