"""The house keeps its shape: import contracts, nothing unsafe to load, one reader of the environment, no prints."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
LIBRARY = REPO / "pipeline_lib"
UNSAFE = ("pickle", "joblib", "dill", "marshal", "shelve")


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    return names | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def test_every_import_contract_is_kept() -> None:
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.parametrize("path", sorted(LIBRARY.rglob("*.py")), ids=lambda p: p.relative_to(LIBRARY).as_posix())
def test_nothing_unsafe_can_be_loaded(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & set(UNSAFE)
    assert "weights_only=False" not in path.read_text()


def test_the_environment_is_read_in_one_place() -> None:
    """The handler reads its own SERVE_ names in Lambda; everything else goes through settings/place.py."""
    readers = {
        path.relative_to(LIBRARY).as_posix()
        for path in LIBRARY.rglob("*.py")
        if "os.environ" in path.read_text() or "getenv" in path.read_text()
    }
    assert readers <= {"settings/place.py", "serve/handler.py"}, readers


def test_library_imports_neither_dags_nor_plugins() -> None:
    names = {name.split(".")[0] for path in LIBRARY.rglob("*.py") for name in imports(path)}
    local = {path.stem for folder in ("dags", "plugins", "scripts") for path in (REPO / folder).glob("*.py")}
    assert not names & local


def test_no_file_prints_but_the_commands() -> None:
    printing = {
        path.relative_to(LIBRARY).as_posix()
        for path in LIBRARY.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert printing <= {"cli.py", "serve/__main__.py", "audit/offline_verifier.py"}, printing
