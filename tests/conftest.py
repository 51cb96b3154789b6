"""What every test may use: a bank of its own in a temporary folder, and AWS as moto's server speaks it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import yaml

from pipeline_lib import settings, signing
from pipeline_lib.keys import KeyFolder
from pipeline_lib.settings import Place, Settings

REPO = Path(__file__).resolve().parent.parent

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """``make_settings("synthetic", {"promotion": {...}})``: settings of a fresh bank with its own keys."""

    def make(dataset: str = "synthetic", overrides: dict[str, Any] | None = None, **place: Any) -> Settings:
        home = tmp_path / dataset
        given: dict[str, Any] = {"dataset": dataset, "home": home, "threads": 1, **place}
        if overrides:
            file = tmp_path / f"overrides-{dataset}.yaml"
            file.write_text(yaml.safe_dump(overrides))
            given["overrides"] = file
        made = settings.load(dataset, Place(**given))
        keys = KeyFolder(made.place.keys)
        keys.create_secrets(made.audit.key_id)
        signing.create_keys(keys)
        return made

    return make


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """A real S3 and Lambda API on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"{url}/moto-api/", timeout=1).close()
                break
            except URLError:
                time.sleep(0.2)
        else:
            raise RuntimeError("moto's server did not answer")
        yield url
    finally:
        server.terminate()
        server.wait(timeout=10)


@pytest.fixture
def aws(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Environment in which boto3 speaks to an empty moto server."""
    urllib.request.urlopen(urllib.request.Request(f"{moto_url}/moto-api/reset", method="POST"), timeout=5).close()
    for name, value in {
        "AWS_ENDPOINT_URL": moto_url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "ap-northeast-2",
    }.items():
        monkeypatch.setenv(name, value)
    return moto_url


@pytest.fixture(scope="session")
def berka_source() -> Path:
    """The real Czech bank; a clone without it skips, saying so."""
    folder = Path(os.environ.get("BERKA_SOURCE", REPO.parent / "shared" / "data" / "berka_czech_bank"))
    if not (folder / "account.parquet").exists():
        pytest.skip(f"the Berka data set is not at {folder} (set BERKA_SOURCE)")
    return folder
