"""Airflow in this process: a database of its own, the environment set before airflow is imported."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline_lib import settings, signing
from pipeline_lib.business_time import promotion_moment
from pipeline_lib.keys import KeyFolder
from pipeline_lib.registry.smoke import complete_and_loadable
from pipeline_lib.runs import RunContext
from pipeline_lib.serve import probe
from tests.unit.gate.promotion_world import POLICY, World

REPO = Path(__file__).resolve().parent.parent.parent
ASSETS = REPO / "tests" / "assets"
HOME = Path(tempfile.mkdtemp(prefix="airflow-test-"))
SETTLE_SECONDS = 0.5

os.environ.update(
    AIRFLOW_HOME=str(HOME),
    AIRFLOW__CORE__DAGS_FOLDER=str(REPO / "dags"),
    AIRFLOW__CORE__PLUGINS_FOLDER=str(REPO / "plugins"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{HOME}/airflow.db",
    AIRFLOW__API_AUTH__JWT_SECRET="x" * 64,
    AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS="risk:op,oncall:op,viewer:viewer",
)


@pytest.fixture(scope="session")
def airflow_db() -> None:
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def bag(airflow_db):
    """Fresh per test: values given to a run stay on the DAG object."""
    return _bag()


def _bag():
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(REPO / "dags")


class Bank:
    """A bank of its own whose DAGs run in this process, with a human who answers questions."""

    def __init__(self, home: Path, dataset: str, patch: pytest.MonkeyPatch, client: Any) -> None:
        self.home, self.dataset, self.patch, self.client = home, dataset, patch, client
        patch.setenv("PIPELINE_DATASET", dataset)
        patch.setenv("PIPELINE_HOME", str(home))
        keys = KeyFolder(self.settings.place.keys)
        keys.create_secrets(self.settings.audit.key_id)
        signing.create_keys(keys)

    @property
    def settings(self) -> settings.Settings:
        return settings.load()

    def policy(self, name: str) -> None:
        self.patch.setenv("PIPELINE_OVERRIDES", str(ASSETS / f"{name}.yaml"))

    def context(self, day: date) -> RunContext:
        return RunContext.open(self.settings, day)

    def run(self, dag_id: str, day: date, conf: dict[str, Any] | None = None, answer: tuple[str, dict] | None = None):
        """One run in this process; ``answer`` is what user ``risk`` chooses when asked."""
        dag = _bag().dags[dag_id]
        if dag_id == "weekly_promotion":  # dag.test is a run started by hand
            conf = {"promotable": True, **(conf or {})}
        done = threading.Event()
        human = threading.Thread(target=self._answer, args=(answer, done))
        human.start()
        try:
            return dag.test(logical_date=promotion_moment(day), run_conf=conf)
        finally:
            done.set()
            human.join()

    def states(self, run) -> dict[str, str]:
        return {ti.task_id: str(ti.state) for ti in run.get_task_instances()}

    def manifests(self, day: date) -> dict[str, str]:
        """Stage -> content hash of every finished stage of a date."""
        ctx = self.context(day)
        prefix = f"runs/{self.dataset}/{day}/"
        stages = [k.removeprefix(prefix).removesuffix("/manifest.json") for k in ctx.objects.list(prefix)]
        return {stage: ctx.read(stage).content_hash for stage in stages if "/" not in stage}

    def _answer(self, answer: tuple[str, dict] | None, done: threading.Event) -> None:
        while answer is not None and not done.wait(SETTLE_SECONDS):
            open_ = self.client.get("/api/v2/dags/~/dagRuns/~/hitlDetails?response_received=false").json()
            for detail in open_.get("hitl_details", []):
                task = detail["task_instance"]
                time.sleep(SETTLE_SECONDS)
                self.client.patch(
                    f"/api/v2/dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}"
                    "/-1/hitlDetails",
                    json={"chosen_options": [answer[0]], "params_input": answer[1]},
                )


@pytest.fixture(scope="session")
def risk_officer(airflow_db):
    """The real API as user ``risk``: answers carry that name."""
    from airflow.api_fastapi.app import create_app
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi.testclient import TestClient

    app = create_app(apps="core")
    token = app.state.auth_manager.generate_jwt(SimpleAuthManagerUser(username="risk", role="op", teams=None))
    return TestClient(app, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def make_bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, risk_officer: Any) -> Callable[..., Bank]:
    def make(dataset: str = "synthetic", **environment: str) -> Bank:
        for name, value in environment.items():
            monkeypatch.setenv(f"PIPELINE_{name.upper()}", value)
        return Bank(tmp_path / dataset, dataset, monkeypatch, risk_officer)

    return make


@pytest.fixture
def bank(make_bank: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bank whose packages are small and hold no real models; its registry is the fixture ``world``."""
    layer = tmp_path / "layer.yaml"
    layer.write_text(yaml.safe_dump(POLICY))
    monkeypatch.setattr(probe, "answers", complete_and_loadable)
    return make_bank(overrides=str(layer))


@pytest.fixture
def world(bank: Any) -> World:
    return World(bank.settings)
