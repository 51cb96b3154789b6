"""Where a run's artefacts lie, and the one way a stage reads and writes them.

``runs/<dataset>/<logical_date>/<stage>/manifest.json`` names the files of a finished stage; the files lie beside
it in a folder named for the hash of what they were made from. The manifest is written last, so a crash leaves
either the old state or the new one. A stage whose inputs, settings and code have not changed is not repeated.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from pipeline_lib.business_time import utc_now
from pipeline_lib.canonical import digest
from pipeline_lib.errors import ManifestMismatch, NotReproducible, ObjectMissing
from pipeline_lib.manifest import Manifest, describe, file_sha256, plain_facts
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.settings import Settings

log = logging.getLogger(__name__)


class Out:
    """The folder a stage writes into, and what it wants to say about it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts: dict[str, Any] = {}
        self.rows: dict[str, int] = {}

    def path(self, name: str, rows: int | None = None) -> Path:
        """Where to write the file ``name``; ``rows`` if it is a table."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if rows is not None:
            self.rows[name] = rows
        return target


@dataclass(frozen=True)
class StageOutput:
    """A finished stage, as the next stages see it. Files are checked against the manifest when asked for."""

    manifest: Manifest
    _objects: Objects = field(repr=False, compare=False)

    @property
    def stage(self) -> str:
        return self.manifest.stage

    @property
    def facts(self) -> Mapping[str, Any]:
        return self.manifest.facts

    @property
    def content_hash(self) -> str:
        return self.manifest.content_hash

    def names(self, prefix: str = "") -> list[str]:
        """Output files under a folder of the stage, e.g. ``customer_snapshot/``."""
        short = (_short(entry.path) for entry in self.manifest.outputs)
        return [name for name in short if name.startswith(prefix)]

    def path(self, name: str) -> Path:
        """A local, verified copy of one output file.

        Raises:
            ManifestMismatch: the stage has no such file, or its bytes are not the recorded ones.
        """
        where = f"{self.manifest.dataset}/{self.manifest.logical_date}/{self.stage}"
        entry = next((e for e in self.manifest.outputs if _short(e.path) == name), None)
        if entry is None:
            raise ManifestMismatch(f"{where}: no output named {name}", missing=[name])
        try:
            path = self._objects.local_path(f"runs/{where}/{entry.path}")
        except ObjectMissing:
            raise ManifestMismatch(f"{where}: output is gone", missing=[name]) from None
        if file_sha256(path) != entry.sha256:
            raise ManifestMismatch(f"{where}: output was changed", changed=[name])
        return path


@dataclass(frozen=True)
class RunContext:
    """One run: a data set at a logical date under one set of settings, in one store."""

    settings: Settings
    logical_date: date
    objects: Objects

    @classmethod
    def open(cls, settings: Settings, logical_date: date) -> RunContext:
        return cls(settings, logical_date, open_objects(settings.place.root))

    @property
    def dataset(self) -> str:
        return self.settings.source.name

    def read(self, stage: str) -> StageOutput:
        """Raises ObjectMissing when the stage has not finished, ManifestMismatch when its manifest was edited."""
        key = self._manifest_key(stage)
        return StageOutput(Manifest.from_bytes(self.objects.get(key), key), self.objects)

    def has(self, stage: str) -> bool:
        return self.objects.exists(self._manifest_key(stage))

    def produce(
        self,
        stage: str,
        make: Callable[[Out], None],
        inputs: Sequence[StageOutput] = (),
        sources: Mapping[str, str] | None = None,
    ) -> StageOutput:
        """Run ``make`` into a scratch folder and publish what it wrote, or return what is already there.

        Args:
            inputs: finished stages this one reads; their content hashes are recorded.
            sources: further inputs by name, e.g. ``{"source:trans.csv": sha256}``.

        Raises:
            NotReproducible: the settings ask to recompute, and the same inputs gave other bytes.
        """
        made_from = {**{i.stage: i.content_hash for i in inputs}, **(sources or {})}
        key = digest({"in": made_from, "config": self.settings.config_hash, "code": code_version()})[:16]
        before = self._finished(stage, made_from)
        if before and not self.settings.place.recompute:
            log.info("%s: already done for %s, nothing to do", stage, self.logical_date)
            return before
        started = utc_now()
        with self.objects.scratch() as folder:
            out = Out(folder)
            make(out)
            entries = describe(folder, out.rows)
            manifest = Manifest(
                stage=stage,
                dataset=self.dataset,
                logical_date=self.logical_date.isoformat(),
                config_hash=self.settings.config_hash,
                code_version=code_version(),
                inputs=made_from,
                outputs=[_under(key, entry) for entry in entries],
                facts=plain_facts(out.facts),
                run={"started_at": started.isoformat(), "finished_at": utc_now().isoformat()},
            )
            if before and before.content_hash != manifest.content_hash:
                raise NotReproducible(
                    f"{stage} {self.logical_date}: {before.content_hash} before, {manifest.content_hash} now"
                )
            for entry in entries:
                self.objects.put_file(f"{self._folder(stage)}/{key}/{entry.path}", folder / entry.path)
        self.objects.put(self._manifest_key(stage), manifest.to_bytes())
        log.info("%s: done for %s, %d files, %s", stage, self.logical_date, len(entries), manifest.content_hash[:12])
        return StageOutput(manifest, self.objects)

    def _finished(self, stage: str, made_from: Mapping[str, str]) -> StageOutput | None:
        try:
            found = self.read(stage)
        except ObjectMissing:
            return None
        m = found.manifest
        same = (m.inputs, m.config_hash, m.code_version) == (made_from, self.settings.config_hash, code_version())
        if not same:
            return None
        try:
            for name in found.names():
                found.path(name)
        except ManifestMismatch as error:
            log.warning("%s: making it again, %s", stage, error)
            return None
        return found

    def _folder(self, stage: str) -> str:
        return f"runs/{self.dataset}/{self.logical_date.isoformat()}/{stage}"

    def _manifest_key(self, stage: str) -> str:
        return f"{self._folder(stage)}/manifest.json"


@cache
def code_version() -> str:
    """First 16 hex of the SHA-256 over the library's and the SQL's source bytes: works in a dirty tree too."""
    package = Path(__file__).resolve().parent
    roots = (package, package.parent / "sql")
    hasher = hashlib.sha256()
    for root in roots:
        for path in sorted(p for p in root.rglob("*") if p.suffix in {".py", ".sql"}):
            hasher.update(path.relative_to(root.parent).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return hasher.hexdigest()[:16]


def _under(key: str, entry: Any) -> Any:
    return type(entry)(f"{key}/{entry.path}", entry.sha256, entry.bytes, entry.rows)


def _short(path: str) -> str:
    return path.split("/", 1)[1]
