"""Immutable packages: registered once, verified at every use.

The signature file is written last, so a half-uploaded version has none and is no version. A version that is
named again with other bytes is an error. The signature covers the exact manifest bytes, the manifest covers
every file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib import signing
from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.errors import ManifestMismatch, SignatureInvalid
from pipeline_lib.keys import KeyFolder
from pipeline_lib.manifest import require_equal
from pipeline_lib.objects import Objects
from pipeline_lib.registry import states
from pipeline_lib.registry.package import FIDELITY_REPORT, Package, read_manifest

MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
PURPOSE = "package"


@dataclass(frozen=True)
class LocalVersion:
    """A verified copy of a version on this machine."""

    package: Package
    folder: Path


def sign_manifest(keys: KeyFolder, manifest: bytes) -> bytes:
    """The bytes of ``manifest.sig``: the key's id and the signature over exactly ``manifest``."""
    return _signature_file(signing.key_id(keys, PURPOSE), signing.sign(keys, PURPOSE, manifest))


def register(objects: Objects, keys: KeyFolder, package_dir: Path) -> Package:
    """Verify a signed package folder and store it; safe to repeat after a crash.

    Raises:
        ManifestMismatch: files are not those of the manifest, or the manifest is none.
        SignatureInvalid: the manifest is not signed by our package key.
        ObjectExists: this version exists with other bytes.
    """
    files = {p.relative_to(package_dir).as_posix(): p for p in sorted(package_dir.rglob("*")) if p.is_file()}
    content = {name: path.read_bytes() for name, path in files.items()}
    package = _verified(keys, content, str(package_dir))
    base = _base(package.version)
    for name in [*sorted(package.files), MANIFEST, SIGNATURE]:
        objects.create(f"{base}/{name}", content[name])
    states.begin(objects, package.version, package.sha256, package.state)
    return package


def verify(objects: Objects, keys: KeyFolder, version: str) -> Package:
    """Check signature and every file where they lie.

    Raises:
        ObjectMissing: there is no such version.
        ManifestMismatch, SignatureInvalid: the version is not what was registered.
    """
    return _verified(keys, _content(objects, version), f"version {version}", version)


@contextmanager
def opened(objects: Objects, keys: KeyFolder, version: str) -> Iterator[LocalVersion]:
    """A verified private copy, gone afterwards: what was verified is what is used."""
    with objects.scratch() as folder:
        yield load(objects, keys, version, folder)


def load(objects: Objects, keys: KeyFolder, version: str, into: Path) -> LocalVersion:
    """Verify a version and write exactly the verified bytes to ``into``. Raises as ``verify``."""
    content = _content(objects, version)
    package = _verified(keys, content, f"version {version}", version)
    for name, data in content.items():
        path = into / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return LocalVersion(package, into)


def listed(objects: Objects) -> list[str]:
    """Versions that were registered completely, sorted."""
    keys = objects.list("registry/versions")
    return [key.split("/")[2] for key in keys if key.endswith(f"/{SIGNATURE}") and key.count("/") == 3]


def _content(objects: Objects, version: str) -> dict[str, bytes]:
    base = _base(version)
    objects.get(f"{base}/{SIGNATURE}")  # ObjectMissing names the key when there is no such version
    return {key.removeprefix(f"{base}/"): objects.get(key) for key in objects.list(base)}


def _verified(keys: KeyFolder, content: dict[str, bytes], where: str, version: str | None = None) -> Package:
    for name in (MANIFEST, SIGNATURE):
        if name not in content:
            raise ManifestMismatch(f"{where}: no {name}", missing=[name])
    signature, signed_by = _signature(content[SIGNATURE], where)
    signing.verify(keys, PURPOSE, content[MANIFEST], signature, signed_by)
    package = read_manifest(content[MANIFEST], where, content.get(FIDELITY_REPORT))
    found = {n: hashlib.sha256(data).hexdigest() for n, data in content.items() if n not in (MANIFEST, SIGNATURE)}
    require_equal(package.files, found, where)
    if version is not None and package.version != version:
        raise ManifestMismatch(f"{where}: its manifest says {package.version}")
    return package


def _signature(data: bytes, where: str) -> tuple[bytes, str]:
    """The signature and the id of the key that is said to have made it."""
    try:
        body = json.loads(data)
        signature, signed_by = bytes.fromhex(body["signature"]), str(body["key_id"])
    except (ValueError, KeyError, TypeError) as error:
        raise SignatureInvalid(f"{where}: {SIGNATURE} holds no signature: {error}") from error
    if data != _signature_file(signed_by, signature):  # no second spelling of the same signature
        raise SignatureInvalid(f"{where}: {SIGNATURE} is not as it was written")
    return signature, signed_by


def _signature_file(signed_by: str, signature: bytes) -> bytes:
    return canonical_bytes({"key_id": signed_by, "signature": signature.hex()}) + b"\n"


def _base(version: str) -> str:
    if not version or not version.replace("-", "").replace(".", "").replace("_", "").isalnum():
        raise ManifestMismatch(f"not a version name: {version!r}")
    return f"registry/versions/{version}"
