"""A version is asked before it may serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_lib.errors import ActivationFailed
from pipeline_lib.keys import KeyFolder
from pipeline_lib.registry import versions
from pipeline_lib.runs import RunContext
from pipeline_lib.serve import probe


@pytest.fixture
def copy(bank: RunContext, tmp_path: Path) -> versions.LocalVersion:
    version = bank.read("package").facts["version"]
    return versions.load(bank.objects, KeyFolder(bank.settings.place.keys), version, tmp_path)


def test_a_good_version_answers(copy: versions.LocalVersion) -> None:
    probe.answers(copy)


def test_a_version_whose_models_do_not_load_does_not_answer(copy: versions.LocalVersion) -> None:
    (copy.folder / "students" / "churn_signal" / "model.forest").unlink()
    with pytest.raises(ActivationFailed, match="MODELS_REFUSED"):
        probe.answers(copy)
