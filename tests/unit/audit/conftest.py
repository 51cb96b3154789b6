"""A scratch record: its own stores and keys, under the shipped policy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib import settings as settings_module
from pipeline_lib import signing
from pipeline_lib.audit import catalogue
from pipeline_lib.audit.segment import Entry
from pipeline_lib.keys import KeyFolder
from pipeline_lib.settings import Place, Settings

KEY_ID = "k-202611-01"
ORIGIN = "bank.example/audit/local"


@pytest.fixture(scope="session")
def shipped() -> Settings:
    """The shipped policy, read once."""
    return settings_module.load("synthetic", Place())


@pytest.fixture
def config(tmp_path: Path, shipped: Settings) -> Settings:
    return scratch(shipped, tmp_path)


def scratch(shipped: Settings, tmp_path: Path) -> Settings:
    """An empty record with keys in a folder."""
    place = Place(
        root=f"file://{tmp_path}/store",
        audit=f"file://{tmp_path}/audit",
        anchors=f"file://{tmp_path}/anchors",
        query_store=f"{tmp_path}/lancedb",
        keys=tmp_path / "keys",
    )
    found = shipped.model_copy(update={"place": place})
    keys = KeyFolder(place.keys)
    keys.create_secrets(found.audit.key_id)
    signing.create_keys(keys)
    return found


@pytest.fixture
def keys(config: Settings) -> KeyFolder:
    return KeyFolder(config.place.keys)


def operation(idem: str, event: str = "heartbeat", **known: Any) -> Entry:
    common = {"actor_kind": "service", "actor_ref": "test", "phase": "single", "severity": "info"}
    payload = catalogue.complete("log_operation", {**common, **known})
    return Entry("log_operation", event, payload, idem)


@pytest.fixture
def beat() -> Callable[..., Entry]:
    """Makes an entry of log_operation: ``beat("i-1", reason="...")``."""
    return operation
