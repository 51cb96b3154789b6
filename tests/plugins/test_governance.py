"""The governance page as Airflow mounts it: nobody without a login, and the truth for everybody else."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from pipeline_lib.audit import session
from pipeline_lib.audit.operation import record_operation
from pipeline_lib.settings import Settings

pytestmark = pytest.mark.filterwarnings("default")
REPO = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def console(make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("AIRFLOW_HOME", os.environ.get("AIRFLOW_HOME", str(tmp_path / "airflow")))
    settings = make_settings()
    monkeypatch.setenv("PIPELINE_HOME", str(settings.place.home))
    monkeypatch.setenv("PIPELINE_DATASET", "synthetic")
    monkeypatch.setattr(sys, "path", [str(REPO / "plugins"), *sys.path])
    from governance_console.app import create_app

    return settings, create_app()


@pytest.fixture
def signed_in(console: Any) -> TestClient:
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.api_fastapi.core_api.security import get_user

    app = console[1]
    app.dependency_overrides[get_user] = lambda: SimpleAuthManagerUser(username="risk", role="viewer", teams=None)
    return TestClient(app)


@pytest.mark.parametrize("path", ["/", "/status"])
def test_nobody_reads_it_without_a_login(console: Any, path: str) -> None:
    assert TestClient(console[1], raise_server_exceptions=False).get(path).status_code == 401


def test_an_empty_bank_says_so(signed_in: TestClient) -> None:
    status = signed_in.get("/status").json()
    assert (status["champion"], status["checkpoint"], status["verdicts"]) == (None, None, [])
    assert "nothing is served yet" in signed_in.get("/").text


def test_the_page_shows_the_record_as_it_is(console: Any, signed_in: TestClient) -> None:
    settings = console[0]
    record_operation(
        settings, "drill", "drill:1", service="oversight", object_type="page", object_id="p", reason="a drill"
    )
    size = session.commit(settings)["size"]
    assert signed_in.get("/status").json()["entries"] == size
    assert f"{size:,} entries under checkpoint 1" in signed_in.get("/").text
