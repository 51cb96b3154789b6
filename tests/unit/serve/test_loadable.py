"""What a release loads as code: the kernel of the installed code, or the very LightGBM it was judged with; no file of
its own folder, and nothing before it was looked at.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib.errors import ActivationFailed
from pipeline_lib.forest import library
from pipeline_lib.keys import KeyFolder
from pipeline_lib.publish.targets import lambda_zip
from pipeline_lib.registry import versions
from pipeline_lib.serve import engine
from pipeline_lib.serve.kernel import LibraryFailed
from pipeline_lib.serve.lightgbm_c import Booster, Library, find_library

from .asking import ask

Body = Callable[..., dict[str, Any]]
NO_KERNEL = LibraryFailed("no kernel here")


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A shared library that is not LightGBM; loading it leaves a file ``ran`` beside it."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    source, made = tmp_path / "foreign.c", tmp_path / "foreign" / library.NAME
    made.parent.mkdir()
    source.write_text(
        f'#include <stdio.h>\n__attribute__((constructor)) void run(void) {{ fopen("{made.parent}/ran", "w"); }}\n'
    )
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(made), str(source)], check=True)
    return made


def ran(foreign: Path) -> bool:
    return (foreign.parent / "ran").exists()


def kernelless(monkeypatch: pytest.MonkeyPatch, installed: Path | None) -> None:
    def missing() -> str:
        raise NO_KERNEL

    monkeypatch.setattr(engine, "find_kernel", missing)
    monkeypatch.setattr(library, "installed", lambda: installed)


def reasons(service: Any, body: dict[str, Any]) -> set[str]:
    http, answer = ask(service, body)
    assert http == 200
    assert answer["receipt"]
    return {answer["tasks"][name]["layer_reason"] for name in ("churn_signal", "nba_primary")}


def test_a_library_planted_in_a_release_is_an_extra_file_and_never_runs(
    release: Any, request_body: Body, foreign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (release.folder / "lib").mkdir()
    shutil.copy(foreign, release.folder / "lib")
    kernelless(monkeypatch, None)
    assert reasons(release.service(), request_body()) == {"MODELS_REFUSED"}
    assert not ran(foreign)


def test_an_installed_library_of_another_make_is_not_loaded(
    release: Any, request_body: Body, foreign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernelless(monkeypatch, foreign)
    assert reasons(release.service(), request_body()) == {"MODELS_UNLOADABLE"}
    assert not ran(foreign)


def test_a_library_without_lightgbms_calls_is_the_named_degradation(
    release: Any, request_body: Body, foreign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where a manifest named it: it is loaded then, lacks the calls, and rules answer."""
    kernelless(monkeypatch, foreign)
    monkeypatch.setattr(library, "sha256", lambda path: library_of(release))
    assert reasons(release.service(), request_body()) == {"MODELS_UNLOADABLE"}
    assert ran(foreign)


def library_of(release: Any) -> str:
    return str(json.loads((release.folder / "manifest.json").read_text())["lightgbm_sha256"])


def test_the_library_that_a_version_was_judged_with_answers_for_the_kernel(
    release: Any, request_body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernelless(monkeypatch, library.installed())
    service = release.service()
    assert isinstance(service.policy.models.predictor.student("churn_signal", 1).forest, Booster)
    assert "MODELS_UNLOADABLE" not in reasons(service, request_body())


@pytest.mark.parametrize("content", [b"", b"no object", b"\x7fELF"])
def test_a_file_that_is_no_library_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / library.NAME).write_bytes(content)
    with pytest.raises(LibraryFailed, match="cannot be loaded"):
        Library(tmp_path / library.NAME)


def test_a_version_that_names_no_library_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LibraryFailed, match="none that it names"):
        find_library("")
    monkeypatch.setattr(library, "installed", lambda: None)
    with pytest.raises(LibraryFailed, match="not installed"):
        find_library()


def test_code_without_a_kernel_is_not_released_to_lambda(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    version = bank.read("package").facts["version"]
    monkeypatch.setattr(lambda_zip, "SUFFIXES", (".py",))
    with versions.opened(bank.objects, KeyFolder(bank.settings.place.keys), version) as copy:
        with pytest.raises(ActivationFailed, match="has no kernel"):
            lambda_zip.bundle(copy)


def test_the_kernel_is_the_only_shared_object_that_lambda_gets(bank: Any) -> None:
    version = bank.read("package").facts["version"]
    with versions.opened(bank.objects, KeyFolder(bank.settings.place.keys), version) as copy:
        data = lambda_zip.bundle(copy)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (only,) = [name for name in archive.namelist() if ".so" in Path(name).suffixes]
    assert only.startswith(lambda_zip.KERNEL)
