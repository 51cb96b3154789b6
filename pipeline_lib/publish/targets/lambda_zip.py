"""The zip that a Lambda function runs: the handler's code with its bytecode, and one package.

The same bytes for the same version and code, so a repeated publish uploads what is there.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from pipeline_lib.errors import ActivationFailed
from pipeline_lib.forest import compiled
from pipeline_lib.registry.versions import LocalVersion

RUNTIME = "python3.11"
PACKAGE_FOLDER = "release"
LIBRARY = Path(__file__).resolve().parent.parent.parent
CODE = (
    "__init__.py", "business_time.py", "canonical.py", "conditions.py", "errors.py", "hard_bounds.py", "keys.py",
    "objects.py", "records.py",
    "audit/__init__.py", "audit/catalogue.py", "audit/chain.py", "audit/line.py", "audit/log.py", "audit/merkle.py",
    "audit/segment.py", "audit/sinks.py", "forest", "items", "serve",
)  # fmt: skip
"""What the handler imports of the library. LightGBM is not among it: a kernel in a zip that never changes cannot go
missing, and 9 MB more would be loaded by nobody."""
SUFFIXES = (".py", ".so")
"""Of code; the kernel is the one shared object, and missing where this library was installed without a compiler."""
KERNEL = "pipeline_lib/serve/kernel/forest."
EPOCH = (1980, 1, 1, 0, 0, 0)


def bundle(copy: LocalVersion) -> bytes:
    """The function's zip: the handler's code and the package, the same bytes for the same version and code.

    A model goes in compiled; the text it was trained as stays in the registry, unless nothing else was registered.

    Raises:
        ActivationFailed: there is no kernel here, or the code does not compile.
    """
    packaged = {_name(path, copy.folder): path for path in _files(copy.folder)}
    files = {f"{PACKAGE_FOLDER}/{name}": path for name, path in packaged.items() if compiled(name) not in packaged}
    data = io.BytesIO()
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        files |= _with_kernel(code(Path(scratch)))
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, files[name].read_bytes())
    return data.getvalue()


def code(folder: Path) -> dict[str, Path]:
    """Put into a folder what the zip holds beside the package; name -> file.

    That is the handler's sources and their bytecode, which a function has no place to keep.
    """
    for part in CODE:
        path = LIBRARY / part
        for source in [one for one in _files(path) if one.suffix in SUFFIXES] if path.is_dir() else [path]:
            copied = folder / "pipeline_lib" / _name(source, LIBRARY)
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(source.read_bytes())
    if RUNTIME == f"python{sys.version_info.major}.{sys.version_info.minor}":
        _compile(folder)
    return {_name(path, folder): path for path in sorted(folder.rglob("*")) if path.is_file()}


def _with_kernel(files: dict[str, Path]) -> dict[str, Path]:
    """What is found out here need not be found out by customers: without it the function answers by rules alone."""
    if not any(name.startswith(KERNEL) and name.endswith(".so") for name in files):
        raise ActivationFailed(f"{LIBRARY} has no kernel: install the library where there is a C compiler")
    return files


def _compile(folder: Path) -> None:
    """Bytecode that is not compared with its source: both are under the zip's hash. One seed, so one set of bytes."""
    command = ["-m", "compileall", "-q", "-s", str(folder), "-p", "/var/task", "--invalidation-mode", "unchecked-hash"]
    try:
        subprocess.run(
            [sys.executable, *command, str(folder)], env={"PYTHONHASHSEED": "0"}, check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise ActivationFailed(f"the function's code cannot be compiled: {error}") from error


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
