"""The scores the champion was judged on: what its served scores are compared with.

They are in the registry under the digest that the verdict names, apart from runs that may be made again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from pipeline_lib.canonical import digest
from pipeline_lib.errors import GateCannotJudge, ManifestMismatch, ObjectMissing, SignatureInvalid
from pipeline_lib.keys import KeyFolder
from pipeline_lib.manifest import file_sha256
from pipeline_lib.monitor.statistics import Array
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.registry import decisions, pointer, versions
from pipeline_lib.registry.package import Package
from pipeline_lib.settings import Settings


@dataclass(frozen=True)
class Baseline:
    version: str | None = None
    bundle_digest: str | None = None
    scores: dict[str, Array] = field(default_factory=dict)
    """Task -> its scores on the gate's rows, for tasks that a model answers; the top class's of a multiclass task."""
    why_not: str = ""
    """What is missing when there are no scores."""


def of_champion(settings: Settings) -> Baseline:
    """The champion's baseline; what cannot be read is said, never guessed."""
    objects, keys = open_objects(settings.place.root), KeyFolder(settings.place.keys)
    try:
        version = pointer.read(objects, keys).version
        if version is None:
            return Baseline(why_not="nothing is served")
        package, bundle = versions.verify(objects, keys, version), _bundle_of(objects, version)
        if bundle is None:
            return Baseline(version, why_not=f"no verdict about {version} names the rows it was judged on")
        return Baseline(version, bundle, _scores(package, _verified(objects, bundle)))
    except (GateCannotJudge, ObjectMissing, ManifestMismatch, SignatureInvalid) as error:
        return Baseline(why_not=f"{type(error).__name__}: {error}")


def _bundle_of(objects: Objects, version: str) -> str | None:
    """Evidence of the newest verdict about a version that has any: a forced verdict has none of its own."""
    about = [stored.decision for stored in decisions.listed(objects) if stored.decision.challenger_version == version]
    bundles = [str(decision.body["bundle_digest"]) for decision in about if decision.body["bundle_digest"]]
    return bundles[-1] if bundles else None


def _verified(objects: Objects, bundle: str) -> pl.DataFrame:
    paths = {key.rsplit("/", 1)[1]: objects.local_path(key) for key in objects.list(f"registry/evidence/{bundle}")}
    found = digest({name.removesuffix(".parquet"): file_sha256(path) for name, path in paths.items()})
    if found != bundle:
        raise ManifestMismatch(f"evidence {bundle} has other bytes: {found}", changed=sorted(paths))
    return pl.read_parquet(paths["challenger.parquet"])


def _scores(package: Package, rows: pl.DataFrame) -> dict[str, Array]:
    return {task.name: _top(rows, task.name, len(task.classes)) for task in package.tasks.values() if task.has_model}


def _top(rows: pl.DataFrame, task: str, classes: int) -> Array:
    fields = [f"s_{task}_{k}" for k in range(classes)] or [f"s_{task}"]
    if missing := [name for name in fields if name not in rows.columns]:
        raise ManifestMismatch(f"the champion's evidence has no scores of {task}", missing=missing)
    top = rows.select(pl.max_horizontal(fields).cast(pl.Float64)).to_series()
    return np.asarray(top.drop_nulls().drop_nans().to_numpy(), dtype=np.float64)
