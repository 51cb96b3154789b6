from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_lib.contracts.leakage import TableSet, TrainingFrame
from pipeline_lib.features.plants.run import clean_twins, small_run
from pipeline_lib.runs import RunContext

REAL = Path(__file__).resolve().parents[4] / "shared" / "data"


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


@pytest.fixture(scope="session")
def real_folder() -> Callable[[str], Path]:
    """Folder of a real data set; a clone without it skips, saying so."""

    def find(name: str) -> Path:
        folder = Path(os.environ.get("REAL_DATA", REAL)) / name
        if not folder.is_dir():
            pytest.skip(f"the real data set is not at {folder} (set REAL_DATA)")
        return folder

    return find
