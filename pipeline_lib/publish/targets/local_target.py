"""A folder as release target: one immutable folder per version and ``live.json``, replaced in one step.

<folder>/<version>/...   the package, as registered
<folder>/live.json       {"version", "manifest_sha256", "folder"}: what serves
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.errors import ActivationFailed, ManifestMismatch
from pipeline_lib.manifest import file_sha256, require_equal
from pipeline_lib.publish.targets.base import Target
from pipeline_lib.registry.versions import MANIFEST, SIGNATURE, LocalVersion

LIVE = "live.json"
TEMP = ".tmp-"


class LocalTarget(Target):
    name = "local"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def at(cls, path: str) -> LocalTarget:
        return cls(Path(path))

    def publish(self, copy: LocalVersion) -> str:
        version, wanted = copy.package.version, copy.package.files
        final = self.folder / version
        if not final.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.folder, prefix=TEMP) as scratch:
                shutil.copytree(copy.folder, Path(scratch) / version)
                _flush(Path(scratch) / version)
                _named(Path(scratch) / version, final)
            _fsync(self.folder)
        _require_files(final, wanted, copy.package.sha256)
        return version

    def shift(self, version: str | None) -> None:
        live = self.folder / LIVE
        if version is None:
            live.unlink(missing_ok=True)
            return
        manifest = self.folder / version / MANIFEST
        if not manifest.is_file():
            raise ActivationFailed(f"{self.folder}: {version} was never published here")
        body = {"version": version, "manifest_sha256": file_sha256(manifest), "folder": version}
        handle, temp = tempfile.mkstemp(dir=self.folder, prefix=TEMP)
        with os.fdopen(handle, "wb") as file:
            file.write(canonical_bytes(body) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temp, 0o644)
        os.replace(temp, live)
        _fsync(self.folder)

    def serving(self) -> str | None:
        live = self._live()
        return None if live is None else str(live["version"])

    def check(self, version: str) -> None:
        """The folder that serves holds exactly the files of its manifest, whose hash was fixed at the shift."""
        live = self._live()
        if live is None or live["version"] != version:
            raise ActivationFailed(f"{self.folder}/{LIVE}: expected {version}, found {live and live['version']}")
        folder = self.folder / version
        try:
            files = json.loads((folder / MANIFEST).read_bytes())["files"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ActivationFailed(f"{folder}: its manifest does not open: {error}") from error
        _require_files(folder, {file["path"]: file["sha256"] for file in files}, live["manifest_sha256"])

    def published(self) -> dict[str, datetime]:
        found = [path for path in self.folder.glob("*") if path.name != LIVE]
        return {path.name: datetime.fromtimestamp(path.stat().st_mtime, UTC) for path in found}

    def withdraw(self, version: str) -> None:
        if self.serving() == version:
            raise ActivationFailed(f"{self.folder}: {version} serves and cannot be withdrawn")
        if not (self.folder / version).exists():
            return
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=TEMP) as scratch:
            os.rename(self.folder / version, Path(scratch) / version)

    def _live(self) -> dict[str, Any] | None:
        try:
            body: dict[str, Any] = json.loads((self.folder / LIVE).read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ActivationFailed(f"{self.folder}/{LIVE} does not open: {error}") from error
        return body


def _require_files(folder: Path, wanted: dict[str, str] | Any, manifest_sha256: str) -> None:
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    found = {name: file_sha256(path) for name, path in names.items() if name != SIGNATURE}
    try:
        require_equal({**wanted, MANIFEST: manifest_sha256}, found, str(folder))
    except ManifestMismatch as error:
        raise ActivationFailed(f"the released folder is not the package: {error}") from error


def _named(folder: Path, final: Path) -> None:
    """Give a finished folder its name; a release of the same version at the same time may have been first."""
    try:
        os.rename(folder, final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        _fsync(path)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
