"""The function from its zip alone: a bare interpreter, no installed package, and parts that predict taken away.

``python -I -S`` sees neither the environment's packages nor this checkout, so whatever is imported came in the zip.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.keys import KeyFolder
from pipeline_lib.publish.targets.lambda_target import HANDLER
from pipeline_lib.publish.targets.lambda_zip import PACKAGE_FOLDER, bundle
from pipeline_lib.registry import versions
from pipeline_lib.runs import RunContext
from pipeline_lib.serve.kernel import LibraryFailed, find_kernel
from pipeline_lib.serve.lightgbm_c import find_library

from .conftest import DAY, Release

DAY_OF_ROWS = {"as_of": DAY.isoformat()}
Ask = Callable[..., dict[str, Any]]
SCRIPT = f"""
import sys
task, events = sys.argv[1], sys.argv[2]
sys.path[:] = [task, *sys.path, *sys.argv[3:]]
import importlib, json
module, _, name = {HANDLER!r}.rpartition(".")
handler = getattr(importlib.import_module(module), name)
answers = [handler(event, None) for event in json.loads(events)]
roots = {{name.split(".")[0] for name in sys.modules}} - set(sys.stdlib_module_names) - {{"__main__"}}
print(json.dumps({{"answers": [[a["statusCode"], json.loads(a["body"])] for a in answers], "roots": sorted(roots),
                   "lightgbm": "pipeline_lib.serve.lightgbm_c" in sys.modules,
                   "compiled": "pipeline_lib.forest.compiling" in sys.modules}}))
"""


@pytest.fixture(scope="module")
def built() -> Path:
    try:
        return Path(find_kernel())
    except LibraryFailed as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def zipped(bank: RunContext) -> bytes:
    version = bank.read("package").facts["version"]
    with versions.opened(bank.objects, KeyFolder(bank.settings.place.keys), version) as copy:
        return bundle(copy)


@pytest.fixture
def task(zipped: bytes, tmp_path: Path) -> Path:
    """The folder a function instance finds its zip unpacked in."""
    with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
        archive.extractall(tmp_path / "task")
    return tmp_path / "task"


@pytest.fixture
def ask(task: Path, release: Release, request_body: Callable[..., dict[str, Any]]) -> Ask:
    """Health and one recommendation of a fresh process, which may import from further folders."""

    def asked(*folders: Path) -> dict[str, Any]:
        events: list[Mapping[str, Any]] = [
            {"rawPath": "/v1/health", "requestContext": {"http": {"method": "GET"}}},
            {
                "rawPath": "/v1/recommendations", "requestContext": {"http": {"method": "POST"}},
                "headers": {"content-type": "application/json"}, "body": json.dumps(request_body(context=DAY_OF_ROWS)),
            },
        ]  # fmt: skip
        environment = release.environment(SERVE_BUNDLE=str(task / PACKAGE_FOLDER))
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", SCRIPT, str(task), json.dumps(events), *map(str, folders)],
            cwd=task, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        (status, found["health"]), (answered, found["body"]) = found["answers"]
        assert (status, answered) == (200, 200)
        return found

    return asked


def layers(found: Mapping[str, Any]) -> dict[str, int]:
    return {name: answer["layer"] for name, answer in found["body"]["tasks"].items()}


def without_kernel(task: Path) -> None:
    for path in (task / "pipeline_lib/serve/kernel").glob("*.so"):
        path.unlink()


def test_the_zip_holds_the_kernel_and_compiled_models_without_their_text(task: Path, built: Path) -> None:
    assert (task / "pipeline_lib/serve/kernel" / built.name).read_bytes() == built.read_bytes()
    students = [path for path in (task / PACKAGE_FOLDER / "students").rglob("*") if path.is_file()]
    assert {path.name for path in students} == {"student.json", "inputs.json", "model.forest", "direct.forest"}


def test_the_zip_alone_answers_through_the_kernel(ask: Ask, built: Path) -> None:
    found = ask()
    assert found["roots"] == ["pipeline_lib"]
    assert not found["lightgbm"]
    assert not found["compiled"]
    assert (found["health"]["status"], found["health"]["load_errors"]) == ("ok", {})
    assert layers(found)["churn_signal"] == 1
    assert layers(found) == found["health"]["tasks"]
    assert not found["body"]["flags"]["degraded"]


def test_without_the_kernel_lightgbms_library_gives_the_same_answers(ask: Ask, task: Path, built: Path) -> None:
    fast = ask()
    without_kernel(task)
    slow = ask(find_library().parents[2])
    assert slow["lightgbm"]
    assert slow["roots"] == ["pipeline_lib"]
    assert slow["health"] == fast["health"]
    assert slow["body"]["tasks"] == fast["body"]["tasks"]
    assert [item["score"] for item in slow["body"]["items"]] == [item["score"] for item in fast["body"]["items"]]


def test_without_both_rules_answer_and_the_status_says_so(ask: Ask, task: Path) -> None:
    without_kernel(task)
    found = ask()
    assert set(layers(found).values()) == {3}
    assert found["body"]["tasks"]["churn_signal"]["layer_reason"] == "MODELS_UNLOADABLE"
    assert found["body"]["flags"]["degraded"]
    assert found["body"]["receipt"]
    assert found["health"]["status"] == "degraded"
    assert found["health"]["load_errors"] == {"models": "MODELS_UNLOADABLE"}
    assert set(found["health"]["tasks"].values()) == {3}
