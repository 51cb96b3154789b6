"""The table and the report of explanations that leave the stage with the soft labels.

One row per row of the asked parts: ``ood_score`` is the distance, not its square; ``ood_flag`` is null where no
threshold could be calibrated; ``attr_column`` and ``attr_value`` list the largest contributions, largest first;
``attr_hash`` is the SHA-256 of the whole float32 vector in column order, little-endian, so that the record can pin
what it does not hold. A row without the causal expert's input has nulls in all of them. Source: teacher.md 4, 17; audit.md 5.6 and 5.7.
``n`` rows, ``F`` columns of the causal expert.
"""  # noqa: E501

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from pipeline_lib.teacher.explain.attribution import Attributor
from pipeline_lib.teacher.explain.ood import OodReference
from pipeline_lib.teacher.explain.view import CausalView, chunks
from pipeline_lib.teacher.frame import KEYS, Batch, Frame

SCHEMA = {
    "ood_score": pl.Float32(),
    "ood_flag": pl.Boolean(),
    "attr_column": pl.List(pl.String()),
    "attr_value": pl.List(pl.Float32()),
    "attr_hash": pl.String(),
}


@dataclass(frozen=True)
class Explainer:
    """What it takes to explain rows. ``names`` are the columns of the causal expert; either part may be absent."""

    view: CausalView
    names: tuple[str, ...]
    reference: OodReference | None
    attributor: Attributor | None
    top: int


def explanation_table(
    explainer: Explainer | None, frame: Frame, rows: Tensor, batch_rows: int, device: torch.device
) -> pl.DataFrame:
    """One row per entry of ``rows``, in that order; all null without an explainer (no causal expert)."""
    keys = frame.keys[rows.numpy()].select(KEYS)
    if explainer is None or not len(rows):
        return keys.with_columns(pl.lit(None, dtype=kind).alias(name) for name, kind in SCHEMA.items())
    parts = [_explained(explainer, frame, chunk, device) for chunk in chunks(rows, batch_rows)]
    return pl.concat([keys, pl.concat(parts)], how="horizontal")


def _explained(explainer: Explainer, frame: Frame, rows: Tensor, device: torch.device) -> pl.DataFrame:
    batch = frame.batch(rows).to(device)
    found = pl.DataFrame({name: pl.Series([None] * len(rows), dtype=kind) for name, kind in SCHEMA.items()})
    if explainer.reference is not None:
        found = found.with_columns(_distance_columns(explainer.reference, explainer.view, batch))
    if explainer.attributor is not None:
        values = explainer.attributor.of(batch).cpu().numpy()
        found = found.with_columns(attribution_columns(values, explainer.names, explainer.top))
    has = pl.Series(explainer.view.expert.available(batch).cpu().numpy())
    return found.select(pl.when(has).then(pl.col(name)).alias(name) for name in SCHEMA)


def _distance_columns(reference: OodReference, view: CausalView, batch: Batch) -> list[pl.Series]:
    distances = reference.distances(view.latent(batch), view.own(batch.x))
    flags = reference.flags(distances)
    return [
        pl.Series("ood_score", distances.numpy(), dtype=pl.Float32),
        pl.Series("ood_flag", [None] * len(distances) if flags is None else flags.tolist(), dtype=pl.Boolean),
    ]


def attribution_columns(values: np.ndarray, names: Sequence[str], top: int) -> list[pl.Series]:
    """The ``top`` largest of each row by magnitude; equal ones in column order. (n, F) float32."""
    order = np.argsort(-np.abs(values), axis=1, kind="stable")[:, :top]
    vocabulary = np.asarray(names, dtype=object)
    largest = np.take_along_axis(values, order, axis=1)
    whole = np.ascontiguousarray(values, dtype="<f4")
    return [
        pl.Series("attr_column", vocabulary[order].tolist(), dtype=pl.List(pl.String)),
        pl.Series("attr_value", largest.tolist(), dtype=pl.List(pl.Float32)),
        pl.Series("attr_hash", [hashlib.sha256(row.tobytes()).hexdigest() for row in whole], dtype=pl.String),
    ]
