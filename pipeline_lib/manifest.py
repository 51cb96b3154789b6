"""What a stage wrote: every file with its digest, and what it was made from.

The content hash covers everything but the times, so two runs of the same stage on the same inputs, settings and
code have the same hash or the stage is not reproducible. Paths are relative to the manifest's own folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline_lib.canonical import canonical_bytes, digest, with_decimals
from pipeline_lib.errors import ManifestMismatch

SCHEMA_VERSION = 1
_CHUNK = 1 << 20


@dataclass(frozen=True)
class FileEntry:
    path: str
    sha256: str
    bytes: int
    rows: int | None


@dataclass(frozen=True)
class Manifest:
    """``inputs`` maps a name (a stage, or ``source:<file>``) to a content hash. ``facts`` are small results of
    the stage that later stages and people read; reals in them are decimal strings. ``run`` (times) is not hashed.
    """

    stage: str
    dataset: str
    logical_date: str
    config_hash: str
    code_version: str
    inputs: Mapping[str, str]
    outputs: Sequence[FileEntry]
    facts: Mapping[str, Any]
    run: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def content_hash(self) -> str:
        body = asdict(self)
        del body["run"]
        return digest(body)

    def to_bytes(self) -> bytes:
        return canonical_bytes({**asdict(self), "content_hash": self.content_hash}) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Manifest:
        """Raises ManifestMismatch when the bytes are no manifest or were edited."""
        try:
            body = json.loads(data)
            claimed = body.pop("content_hash")
            body["outputs"] = tuple(FileEntry(**entry) for entry in body["outputs"])
            manifest = cls(**body)
        except (ValueError, KeyError, TypeError) as error:
            raise ManifestMismatch(f"{where} is not a manifest: {error}") from error
        if manifest.content_hash != claimed:
            raise ManifestMismatch(f"{where} was edited: it hashes to {manifest.content_hash}, claims {claimed}")
        return manifest


def plain_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts as they are stored: floats become decimal strings."""
    stored: dict[str, Any] = with_decimals(dict(facts))
    return stored


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    hasher = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_CHUNK):
            hasher.update(block)
    return hasher.hexdigest()


def describe(folder: Path, rows: Mapping[str, int]) -> tuple[FileEntry, ...]:
    """Entries of every file under ``folder``, by path. ``rows`` gives row counts of the tables among them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in files]
    return tuple(
        FileEntry(name, file_sha256(path), path.stat().st_size, rows.get(name))
        for name, path in zip(names, files, strict=True)
    )


def require_equal(expected: Mapping[str, str], found: Mapping[str, str], where: str) -> None:
    """Compare path -> digest maps; raises ManifestMismatch saying what is extra, missing and changed."""
    extra = sorted(found.keys() - expected.keys())
    missing = sorted(expected.keys() - found.keys())
    changed = sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name])
    if extra or missing or changed:
        raise ManifestMismatch(f"{where}: files differ from the manifest", extra, missing, changed)
