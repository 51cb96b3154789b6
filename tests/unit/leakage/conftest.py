from __future__ import annotations

import pytest

from pipeline_lib.contracts.leakage import TableSet, TrainingFrame
from pipeline_lib.features.plants.run import clean_twins, small_run
from pipeline_lib.runs import RunContext


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    """An honest run of the small bank."""
    return small_run(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def tables(small: RunContext) -> TableSet:
    return clean_twins(small)[0]


@pytest.fixture(scope="session")
def frame(small: RunContext) -> TrainingFrame:
    return clean_twins(small)[1]
