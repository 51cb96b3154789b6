"""Each test gets a bank of its own; the policy is read once."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipeline_lib import settings, signing
from pipeline_lib.keys import KeyFolder
from pipeline_lib.settings import Place, Settings
from tests.unit.gate.promotion_world import POLICY, World

MEMORY = Path("/dev/shm")  # noqa: S108  fsync costs nothing there


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    layer = tmp_path_factory.mktemp("policy") / "layer.yaml"
    layer.write_text(yaml.safe_dump(POLICY))
    return settings.load("synthetic", Place(dataset="synthetic", overrides=layer))


@pytest.fixture
def world(policy: Settings) -> Iterator[World]:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as home:
        place = Place(dataset="synthetic", home=Path(home), threads=1)
        keys = KeyFolder(place.keys)
        keys.create_secrets(policy.audit.key_id)
        signing.create_keys(keys)
        yield World(policy.model_copy(update={"place": place}))
