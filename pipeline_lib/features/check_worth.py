"""The finished features as the checks FX1 to FX6 see them, beside the leakage checks of the same stage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipeline_lib.contracts.feature_checks import RULES, feature_findings
from pipeline_lib.contracts.feature_table import FeatureTable
from pipeline_lib.contracts.leakage import Coverage, TrainingFrame
from pipeline_lib.contracts.leakage.evidence import spread
from pipeline_lib.features.matrix_files import blocks
from pipeline_lib.records import Finding
from pipeline_lib.runs import StageOutput
from pipeline_lib.settings.feature_groups.checks import FeatureChecks

SERVED = "serve"
CATEGORY = "category"


def with_feature_checks(
    judged: tuple[Coverage, list[Finding]], frame: TrainingFrame, features: StageOutput, limits: FeatureChecks
) -> tuple[Coverage, list[Finding]]:
    """What was judged, and what FX1 to FX6 find besides."""
    coverage, found = judged
    skipped: dict[str, str] = {}
    found = [*found, *feature_findings(feature_table(frame, features, limits), limits, skipped)]
    checks = (*coverage.checks, *(rule.__name__ for rule in RULES))
    return replace(coverage, checks=checks, not_judged={**coverage.not_judged, **skipped}), found


def feature_table(frame: TrainingFrame, features: StageOutput, limits: FeatureChecks) -> FeatureTable:
    """Evenly spread train rows, and rows that answers are given for."""
    train, score = (spread(frame.rows_of(split), limits.sample_rows) for split in ("train", SERVED))
    columns = frame.schema["columns"]
    return FeatureTable(
        name=frame.name,
        columns=frame.features,
        groups=[column["group"] for column in columns],
        kinds=[column["kind"] for column in columns],
        train=frame.raw[train],
        scaled=frame.scaled[train],
        score=frame.raw[score],
        clip_z=frame.clip_z,
        used_train=_used(frame, features, train),
        used_score=_used(frame, features, score),
    )


def _used(frame: TrainingFrame, features: StageOutput, rows: npt.NDArray[np.int64]) -> dict[str, int]:
    """Category -> rows with an edge to it."""
    names = [item["name"] for item in frame.schema.get("items", ()) if item["kind"] == CATEGORY]
    if not names:
        return {}
    wanted, counts = np.zeros(len(frame.keys), dtype=np.bool_), np.zeros(len(names), dtype=np.int64)
    wanted[rows] = True
    for first, block in blocks(features.path("edges.parquet"), names, frame.keys):
        used = pl.DataFrame(pa.Table.from_batches([block.select(names)])).filter(wanted[first : first + len(block)])
        counts += np.array(used.select((pl.col(names) > 0).sum()).row(0), dtype=np.int64)
    return dict(zip(names, counts.tolist(), strict=True))
