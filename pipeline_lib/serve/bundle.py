"""The released package on disk: opened only when every byte is the byte that was published.

The manifest must have the hash fixed at publish and lists the hash of every file. The Ed25519 signature is checked
at publish, so the function needs no cryptography library. Models are refused together: one bad file, no models;
the policy may still serve rules when it verifies by itself. Source: serving.md 2.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_lib.errors import ManifestMismatch

UNLISTED = ("manifest.json", "manifest.sig")
RUNTIME = "lib/"
"""The shared libraries a release puts beside the package; they belong to the code, not to the version."""


@dataclass(frozen=True)
class Bundle:
    """A verified package. ``policy`` holds ``policy/<name>.json`` by name."""

    folder: Path
    manifest_sha256: str
    manifest: Mapping[str, Any]
    policy: Mapping[str, Any]

    @property
    def version(self) -> str:
        return str(self.manifest["version"])

    def read(self, path: str) -> bytes:
        """Verified bytes of one listed file.

        Raises:
            ManifestMismatch: the file is not listed, is gone, or was changed since.
        """
        expected = _digests(self.manifest).get(path)
        return _verified(self.folder, path, expected)


def open_bundle(folder: Path, manifest_sha256: str) -> Bundle:
    """Verify the whole folder.

    Raises:
        ManifestMismatch: saying which files are extra, missing or changed.
    """
    bundle = open_policy(folder, manifest_sha256)
    expected = _digests(bundle.manifest)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    extra = sorted(n for n in found - expected.keys() if n not in UNLISTED and not n.startswith(RUNTIME))
    missing = sorted(expected.keys() - found)
    changed = sorted(name for name in expected.keys() & found if _sha256(folder / name) != expected[name])
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
    manifest = json.loads(data)
    names = [path for path in _digests(manifest) if path.startswith("policy/")]
    policy = {Path(n).stem: json.loads(_verified(folder, n, _digests(manifest)[n])) for n in names}
    return Bundle(folder, found, manifest, policy)


def _digests(manifest: Mapping[str, Any]) -> dict[str, str]:
    return {str(file["path"]): str(file["sha256"]) for file in manifest["files"]}


def _verified(folder: Path, path: str, expected: str | None) -> bytes:
    if expected is None:
        raise ManifestMismatch(f"{folder}: the manifest does not list {path}", extra=[path])
    data = _bytes(folder, path)
    if hashlib.sha256(data).hexdigest() != expected:
        raise ManifestMismatch(f"{folder}: {path} was changed", changed=[path])
    return data


def _bytes(folder: Path, path: str) -> bytes:
    try:
        return (folder / path).read_bytes()
    except OSError as error:
        raise ManifestMismatch(f"{folder}: {path} cannot be read: {error}", missing=[path]) from error


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
