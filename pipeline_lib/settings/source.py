"""A data source: one YAML file under ``config/sources/``."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field, model_validator

from pipeline_lib import hard_bounds
from pipeline_lib.settings.base import Section
from pipeline_lib.settings.synthetic import Synthetic


class Product(Section):
    short: str
    """Column ``prod_<short>`` of the snapshot."""
    meaning: str
    nba_class: int = Field(ge=0)
    """Class of ``nba_primary``; 0 = never a next best action."""
    acquire_group: Literal["deposits", "investments", "accounts", "lending", "payments"] | None = None
    risk_grade: int | None = Field(default=None, ge=1, le=5)
    """Suitability grade; a product without one is never recommended."""


class RawColumn(Section):
    """When a raw column's value is known, and what is made of it. What is not declared feeds no feature."""

    role: Literal["feature", "key", "label", "weight", "time"]
    """What the column is. Only ``feature`` and ``time`` may feed features; a ``key`` joins and is no value; a
    ``label`` is what somebody wants to predict; a ``weight`` belongs to the sample's design."""
    known: Literal["at_row_date", "static", "undated", "after_outcome"]
    """``at_row_date``: known on the date its row carries (a booking, a monthly stamp). ``static``: never changes (sex,
    birth date, name of a region). ``undated``: a state of some later day that the data do not tell (standing orders).
    ``after_outcome``: written when, or because, the outcome was known (state of a loan, length of the sales call)."""
    known_from: date | None = Field(default=None, strict=False)
    """First day on which the value was known, for figures of a stated year (statistics of 1995: 1996-01-01); before
    it, the value is the future. None: ``known`` says all."""
    feeds: list[str] = []
    """Canonical columns made from this one, as ``table.column`` (``customer_snapshot.age``)."""
    feeds_later: list[str] = []
    """Canonical columns made from this one in a later row, dated when the value is known (the deposit that a call sold
    is held in the snapshot after it): the only way in which a label may become a holding."""
    why: str = ""
    """Why it must not be a feature; for people, shown in the leakage report."""


class Source(Section):
    """``name`` is the file's name."""

    name: str
    adapter: str
    """Module under ``pipeline_lib/ingest/adapters``."""
    title: str
    origin: Literal["real", "synthetic"]
    currency: str = Field(pattern="^[A-Z]{3}$")
    """ISO 4217 code of every amount."""
    needs_files: bool
    """Whether a folder with raw files must be given (``PIPELINE_SOURCE``)."""
    products: list[Product]
    nba_classes: list[str]
    """Class names of ``nba_primary``; index 0 is ``none``."""
    tasks: list[str]
    """Tasks that can be derived honestly from this source; the others are masked."""
    tasks_absent_because: dict[str, str]
    """Task -> why it cannot be derived; together with ``tasks`` these are all tasks."""
    purchase_types: list[str]
    """Event types that are acts of the customer for the consumption labels (next_mcc, trend, shift); a source whose
    stream is more than card purchases lists them all, and the category's ``customer_made`` still has to be true."""
    unavailable_columns: dict[str, str] = {}
    """Canonical snapshot column the source does not carry -> why; it stays null and feeds no feature."""
    whole_ledger: bool = False
    """Whether the events are all bookings since an account was opened, so that their sum is its balance."""
    protected: dict[str, str] = {}
    """Protected attribute -> canonical column; attributes not listed are unknown."""
    raw: dict[str, dict[str, RawColumn]] = {}
    """Raw table (file stem; of many like files, their common name) -> raw column -> when it is known. Every column of
    every table that the source offers, also of those that nobody reads: the leakage checks refuse a feature that
    descends from a column that is not known at the cutoff, or not declared at all."""
    params: dict[str, int | float | str | bool] = {}
    """Parameters of the adapter, each documented in the adapter's module."""
    sample_customer: str | None = None
    """Customer that a run's summary asks for, as a branch would; None: no sample."""
    generator: Synthetic | None = None
    """Laws of a generated bank, from ``config/synthetic.yaml``; None for a real source."""

    @model_validator(mode="after")
    def _consistent(self) -> Source:
        shorts = [product.short for product in self.products]
        if len(set(shorts)) != len(shorts):
            raise ValueError("products: a short name is written twice")
        if both := sorted(set(self.tasks) & self.tasks_absent_because.keys()):
            raise ValueError(f"tasks {both} are both derived and absent")
        if bad := [p.short for p in self.products if p.nba_class >= len(self.nba_classes)]:
            raise ValueError(f"products {bad} name an nba_class beyond nba_classes")
        products = [product.model_dump() for product in self.products]
        if wrong := hard_bounds.broken_grades(products, self.nba_classes):
            raise ValueError("; ".join(wrong))
        return self
