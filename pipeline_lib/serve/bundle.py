"""The released package on disk: opened only when every byte is the byte that was published.

The manifest must have the hash fixed at publish and lists the hash of every file. The Ed25519 signature is checked
at publish, so the function needs no cryptography library. Models are refused together: one bad file, no models;
the policy may still serve rules when it verifies by itself. Source: serving.md 2.

The text a model was trained as is evidence: the registry keeps it, the function's copy may leave it out. Files are
read, not mapped: a mapped file that is cut short later would kill the process, a read one cannot.
"""

from __future__ import annotations

import hashlib
import os

from pipeline_lib.errors import ManifestMismatch
from pipeline_lib.forest import compiled
from pipeline_lib.serve.quick_json import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import Any

UNLISTED = ("manifest.json", "manifest.sig")


class Bundle:
    """A verified package. ``policy`` holds ``policy/<name>.json`` by name."""

    def __init__(
        self, folder: Path, manifest_sha256: str, manifest: Mapping[str, Any], policy: Mapping[str, Any]
    ) -> None:
        self.folder, self.manifest_sha256, self.manifest, self.policy = folder, manifest_sha256, manifest, policy
        self._digests = _digests(manifest)
        self._held: dict[str, bytes] = {}

    @property
    def version(self) -> str:
        return str(self.manifest["version"])

    def lists(self, path: str) -> bool:
        return path in self._digests

    def read(self, path: str) -> bytes:
        """Verified bytes of one listed file.

        Raises:
            ManifestMismatch: the file is not listed, is gone, or was changed since.
        """
        held = self._held.pop(path, None)
        return _verified(self.folder, path, self._digests.get(path)) if held is None else held

    def hold(self, path: str, data: bytes) -> None:
        """Keep verified bytes for the first ``read``, so that what was verified is what is used."""
        self._held[path] = data

    def let_go(self) -> None:
        """Forget what nothing has read; it is read and verified again when it is asked for."""
        self._held.clear()


def open_bundle(folder: Path, manifest_sha256: str) -> Bundle:
    """Verify the whole folder.

    Raises:
        ManifestMismatch: saying which files are extra, missing or changed.
    """
    bundle = open_policy(folder, manifest_sha256)
    expected = _digests(bundle.manifest)
    found = set(_files(folder))
    extra = sorted(n for n in found - expected.keys() if n not in UNLISTED)
    missing = sorted(name for name in expected.keys() - found if compiled(name) not in expected)
    changed = sorted(name for name in expected.keys() & found if not _held(bundle, name, expected[name]))
    if extra or missing or changed:
        raise ManifestMismatch(f"{folder}: not the files of {bundle.version}", extra, missing, changed)
    return bundle


def open_policy(folder: Path, manifest_sha256: str) -> Bundle:
    """Verify manifest and policy alone: enough for rules. Raises ManifestMismatch."""
    data = _bytes(folder, "manifest.json")
    found = hashlib.sha256(data).hexdigest()
    if found != manifest_sha256:
        raise ManifestMismatch(
            f"{folder}: expected manifest {manifest_sha256}, found {found}", changed=["manifest.json"]
        )
    manifest = loads(data)
    digests = _digests(manifest)
    names = [path for path in digests if path.startswith("policy/")]
    policy = {_stem(n): loads(_verified(folder, n, digests[n])) for n in names}
    return Bundle(folder, found, manifest, policy)


def _held(bundle: Bundle, path: str, expected: str) -> bool:
    """Whether a file is what was published; a student's bytes are kept for its first read."""
    data = _bytes(bundle.folder, path)
    if hashlib.sha256(data).hexdigest() != expected:
        return False
    if path.startswith("students/") and compiled(path) is None:
        bundle.hold(path, data)
    return True


def _digests(manifest: Mapping[str, Any]) -> dict[str, str]:
    return {str(file["path"]): str(file["sha256"]) for file in manifest["files"]}


def _files(folder: Path) -> Iterator[str]:
    """Paths of all files below a folder, relative, with slashes."""
    for place, _, names in os.walk(folder):
        below = os.path.relpath(place, folder).replace(os.sep, "/")
        yield from names if below == "." else (f"{below}/{name}" for name in names)


def _verified(folder: Path, path: str, expected: str | None) -> bytes:
    if expected is None:
        raise ManifestMismatch(f"{folder}: the manifest does not list {path}", extra=[path])
    data = _bytes(folder, path)
    if hashlib.sha256(data).hexdigest() != expected:
        raise ManifestMismatch(f"{folder}: {path} was changed", changed=[path])
    return data


def _bytes(folder: Path, path: str) -> bytes:
    try:
        with open(os.path.join(folder, path), "rb") as file:
            return file.read()
    except OSError as error:
        raise ManifestMismatch(f"{folder}: {path} cannot be read: {error}", missing=[path]) from error


def _stem(path: str) -> str:
    return path.rsplit("/", 1)[-1].removesuffix(".json")
