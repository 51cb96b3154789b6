"""The frozen rows a verdict is computed from: served outputs of both models and the labels, one row per customer.

The bundle is the ``score`` stage's outputs joined with ``labels``; its three tables are kept in the registry under
the digest of their bytes, so that a verdict can be computed again years later. A bundle is sealed: who collects or
reopens it has looked at its keys alone, and its scores are read when the competition opens it. Source: promotion.md 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from pipeline_lib.canonical import digest
from pipeline_lib.errors import GateCannotJudge, ManifestMismatch
from pipeline_lib.gate.metrics import Ints
from pipeline_lib.manifest import file_sha256
from pipeline_lib.objects import Objects
from pipeline_lib.runs import StageOutput

KEYS = ("customer_key", "cutoff_date")
CHALLENGER, CHAMPION, LABELS = "challenger.parquet", "champion.parquet", "labels.parquet"


@dataclass(frozen=True)
class Tables:
    """What the competition sees: three tables with the same N rows in the same order."""

    challenger: pl.DataFrame
    champion: pl.DataFrame
    labels: pl.DataFrame

    @property
    def rows(self) -> int:
        return self.labels.height

    @property
    def customers(self) -> Ints:
        """Whose row it is, 0..C-1, (N,)."""
        return np.unique(self.labels["customer_key"].to_numpy(), return_inverse=True)[1]


@dataclass(frozen=True)
class Bundle:
    """The sealed bundle: its identity, its size and where its tables are."""

    digest: str
    rows: int
    paths: Mapping[str, Path]

    @property
    def has_champion(self) -> bool:
        """False at bootstrap."""
        return CHAMPION in self.paths

    def open(self) -> Tables:
        """Read the scores of both models."""
        challenger, champion, labels = (pl.read_parquet(self.paths[name]) for name in (CHALLENGER, CHAMPION, LABELS))
        return Tables(challenger, champion, labels)


def collect(score: StageOutput, labels: StageOutput, tasks: Sequence[str], objects: Objects) -> Bundle:
    """Join keys and labels, keep the tables under their digest, and check that they belong together.

    Raises:
        GateCannotJudge: BUNDLE_STALE: a file is not the one that was recorded; BUNDLE_INVALID: rows repeat a
            customer or differ between the models.
    """
    try:
        paths = {name: score.path(name) for name in (CHALLENGER, CHAMPION) if name in score.names()}
        rows = pl.read_parquet(paths[CHALLENGER], columns=list(KEYS))
        truth = _labels_of(rows, labels.path("label_table.parquet"), tasks)
    except (ManifestMismatch, KeyError) as error:
        raise GateCannotJudge("BUNDLE_STALE", f"the evaluation bundle does not verify: {error}") from error
    with objects.scratch() as folder:
        truth.write_parquet(folder / LABELS, compression="zstd")
        paths[LABELS] = folder / LABELS
        identity = _digest(paths)
        for name, path in paths.items():
            objects.create(f"registry/evidence/{identity}/{name}", path.read_bytes())
    return reopen(objects, identity)


def reopen(objects: Objects, identity: str) -> Bundle:
    """The bundle of a digest.

    Raises:
        GateCannotJudge: BUNDLE_STALE: the bytes do not have this digest; BUNDLE_INVALID: as ``collect``.
    """
    keys = objects.list(f"registry/evidence/{identity}")
    paths = {key.rsplit("/", 1)[1]: objects.local_path(key) for key in keys}
    if (found := _digest(paths)) != identity:
        raise GateCannotJudge("BUNDLE_STALE", f"evidence {identity} has other bytes: {found}")
    rows = {name: pl.read_parquet(path, columns=list(KEYS)) for name, path in paths.items()}
    _require_paired(rows)
    return Bundle(identity, rows[LABELS].height, paths)


def require_fresh(score: StageOutput, champion: str | None, generation: int, now: datetime, max_age_days: int) -> None:
    """Returns nothing; raises GateCannotJudge BUNDLE_STALE for a bundle of another champion, or an old one."""
    built_for = (score.facts["champion"], score.facts["champion_generation"])
    if built_for != (champion, generation):
        raise GateCannotJudge(
            "BUNDLE_STALE",
            f"scored against champion {built_for[0]} (generation {built_for[1]}), now {champion} ({generation}); "
            "run the score stage again",
        )
    age = now - datetime.fromisoformat(score.manifest.run["finished_at"])
    if age > timedelta(days=max_age_days):
        raise GateCannotJudge("BUNDLE_STALE", f"scored {age.days} days ago, limit {max_age_days}")


def require_size(bundle: Bundle, minimum: int) -> None:
    """Returns nothing; raises GateCannotJudge when there are too few rows to judge."""
    if bundle.rows < minimum:
        raise GateCannotJudge("BUNDLE_STALE", f"the bundle has {bundle.rows} rows, min_gate_rows is {minimum}")


def unpowered(labels: pl.DataFrame, kinds: Mapping[str, str], minimum: int) -> tuple[str, ...]:
    """Tasks with too little truth in the bundle: left out for both models, and listed.

    A binary task needs ``minimum`` rows of each class, another task ``minimum`` labelled rows.
    """
    return tuple(task for task, kind in kinds.items() if _weakest(labels, task, kind) < minimum)


def _weakest(labels: pl.DataFrame, task: str, kind: str) -> int:
    if task not in labels.columns:
        return 0
    known = labels[task].drop_nulls().drop_nans() if labels[task].dtype.is_float() else labels[task].drop_nulls()
    return min(int((known == 1).sum()), int((known == 0).sum())) if kind == "binary" else len(known)


def _digest(paths: Mapping[str, Path]) -> str:
    return digest({name.removesuffix(".parquet"): file_sha256(path) for name, path in paths.items()})


def _labels_of(rows: pl.DataFrame, label_table: Path, tasks: Sequence[str]) -> pl.DataFrame:
    """Mature labels of exactly these rows, in their order; null where there is none."""
    table = pl.scan_parquet(label_table)
    present = [task for task in tasks if task in table.collect_schema().names()]
    mature = table.filter(pl.col("label_status") == "mature").select(*KEYS, *present).collect()
    return rows.join(mature, on=list(KEYS), how="left", maintain_order="left")


def _require_paired(keys: Mapping[str, pl.DataFrame]) -> None:
    rows = keys[LABELS]
    if rows["customer_key"].n_unique() != rows.height:
        raise GateCannotJudge("BUNDLE_INVALID", f"{rows.height} rows of {rows['customer_key'].n_unique()} customers")
    for name, table in keys.items():
        if not table.equals(rows):
            raise GateCannotJudge("BUNDLE_INVALID", f"rows of {name} are not the labels' rows")
