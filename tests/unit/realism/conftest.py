from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from pipeline_lib import settings
from pipeline_lib.realism.panel import Panel
from pipeline_lib.settings import Place
from pipeline_lib.settings.realism import Realism

MONTHS = tuple(date(2025 + (5 + m) // 12, (5 + m) % 12 + 1, 28) for m in range(14))


def bank(name: str, seed: int, customers: int = 1500, memory: float = 0.6, shift: float = 0.0) -> Panel:
    """A bank of independent customers: AR(1) ln spend, two products, profile of independent draws."""
    rng = np.random.default_rng(seed)
    months = len(MONTHS)
    path = np.empty((customers, months))
    path[:, 0] = rng.standard_normal(customers)
    for month in range(1, months):
        path[:, month] = memory * path[:, month - 1] + np.sqrt(1 - memory**2) * rng.standard_normal(customers)
    held = rng.random((customers, months, 2)) < 0.3
    profile = pl.DataFrame(
        {
            "age": rng.normal(45 + shift, 12, customers),
            "income": np.exp(rng.normal(10, 0.5, customers)),
            "tenure_months": rng.integers(0, 200, customers),
            "num_products": held[:, -1].sum(axis=1),
            "sex": rng.choice(["F", "M"], customers),
            "is_active": rng.integers(0, 2, customers),
            "country": rng.choice(["ES", "FR"], customers, p=[0.96, 0.04]),
            "province_id": rng.integers(1, 5, customers),
            "channel": rng.choice(["A", "B"], customers),
            "relation_type": pl.Series([None] * customers, dtype=pl.String),
            "employee_status": pl.Series([None] * customers, dtype=pl.String),
            "prod_a": held[:, -1, 0].astype(int),
            "prod_b": held[:, -1, 1].astype(int),
        }
    )
    return Panel(
        name=name,
        months=MONTHS,
        products=("a", "b"),
        customers=np.arange(customers),
        present=np.ones((customers, months), dtype=bool),
        held=held,
        spend=np.exp(5 + path),
        events=rng.poisson(10, (customers, months)).astype(np.float64),
        profile=profile,
        rows_by_month=np.full(months, float(customers)),
        gaps=rng.geometric(0.3, 5000).astype(np.float64),
        bigrams={("x", "x"): 60 + seed, ("x", "y"): 40, ("y", "x"): 50, ("y", "y"): 50},
    )


@pytest.fixture(scope="session")
def policy() -> Realism:
    loaded = settings.load("synthetic", Place(dataset="synthetic")).realism
    return loaded.model_copy(update={"bootstraps": 10, "neighbours": 700, "min_events": 50})
