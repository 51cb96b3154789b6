"""One bank for all read-only tests, and a copy of one's own for those that write."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib import signing
from pipeline_lib.comply import quarterly
from pipeline_lib.keys import KeyFolder
from pipeline_lib.settings import Place, Settings
from tests.unit.comply.bank import KINDS, Bank, live
from tests.unit.gate.conftest import MEMORY, policy
from tests.unit.gate.promotion_world import World

__all__ = ["policy"]


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


def at(policy: Settings, folder: Path) -> Settings:
    return policy.model_copy(update={"place": Place(dataset="synthetic", home=folder, threads=1)})


@pytest.fixture(scope="session")
def lived(policy: Settings, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = at(policy, home / "lived")
    keys = KeyFolder(settings.place.keys)
    keys.create_secrets(settings.audit.key_id)
    signing.create_keys(keys)
    live(World(settings), tmp_path_factory.mktemp("packages"))
    return home / "lived"


@pytest.fixture(scope="session")
def bank(policy: Settings, lived: Path, home: Path) -> Bank:
    shutil.copytree(lived, home / "shared")
    return Bank(at(policy, home / "shared"))


@pytest.fixture
def own_bank(policy: Settings, lived: Path, home: Path) -> Iterator[Bank]:
    copy = home / "copy"
    shutil.copytree(lived, copy)
    yield Bank(at(policy, copy))
    shutil.rmtree(copy)


@pytest.fixture(scope="session")
def frozen(bank: Bank) -> dict[str, Any]:
    return bank.freeze()


@pytest.fixture(scope="session")
def results(bank: Bank, frozen: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every report of the shared bank, generated once: kind -> result."""
    return {kind: quarterly.generate(bank.ctx, kind, frozen) for kind in KINDS}


@pytest.fixture(scope="session")
def made(bank: Bank, results: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The bodies: kind -> body."""
    return {kind: json.loads(bank.bytes_of(result)) for kind, result in results.items()}
