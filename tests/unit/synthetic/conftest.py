"""Small synthetic banks, made once for all tests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pytest

from pipeline_lib import settings
from pipeline_lib.ingest.adapters.synthetic import bank_of, laws_of
from pipeline_lib.ingest.synthetic.laws import Laws
from pipeline_lib.ingest.synthetic.world import Bank, BlockMonth, simulate
from pipeline_lib.settings import Place
from pipeline_lib.settings.source import Source

LOGICAL_DATE = date(2026, 11, 23)
MakeSource = Callable[..., Source]


@pytest.fixture(scope="session")
def make_source() -> MakeSource:
    """``make_source(customers=500, blocks={"customers": 200})``: parameters, and sections of the generator's policy."""
    shipped = settings.load("synthetic", Place(dataset="synthetic")).source

    def make(**changes: Any) -> Source:
        assert shipped.generator is not None
        params = {k: v for k, v in changes.items() if k in shipped.params}
        sections = {
            k: getattr(shipped.generator, k).model_copy(update=v) for k, v in changes.items() if k not in params
        }
        return shipped.model_copy(
            update={
                "params": {**shipped.params, **params},
                "generator": shipped.generator.model_copy(update=sections),
            }
        )

    return make


@pytest.fixture(scope="session")
def small(make_source: MakeSource) -> tuple[Laws, Bank]:
    source = make_source(customers=1000)
    return laws_of(source), bank_of(source, LOGICAL_DATE)


@pytest.fixture(scope="session")
def months(small: tuple[Laws, Bank]) -> list[BlockMonth]:
    """The bank of 1,000 customers, all months; the last one is still open."""
    return list(simulate(*small))


@pytest.fixture(scope="session")
def auc() -> Callable[[Any, Any], float]:
    """Area under the ROC curve by mid-ranks: P(score of a positive > score of a negative) + half the ties."""
    from scipy.stats import rankdata

    def area(label: Any, score: Any) -> float:
        label = np.asarray(label, dtype=bool)
        positives, negatives = label.sum(), (~label).sum()
        ranks = rankdata(score)[label].sum() - positives * (positives + 1) / 2
        return float(ranks / (positives * negatives))

    return area
