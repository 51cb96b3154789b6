"""The ranges put together: one scaler of all train rows, one schema, and the single files that consumers read.

Ranges are streamed in row order, one in memory at a time. What the ranges say of their rows is verified on the way:
columns and their order, the rows themselves, the statistics of the scaler.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_lib.errors import ContractError
from pipeline_lib.features.columns import Column
from pipeline_lib.features.diagram_files import DIAGRAMS
from pipeline_lib.features.fit import fingerprint
from pipeline_lib.features.inputs import FeatureInputs
from pipeline_lib.features.items import described_items, item_names
from pipeline_lib.features.matrix_files import rows_at
from pipeline_lib.features.normalise import Moments, Scaling, normalise, scalings
from pipeline_lib.features.part import EDGES, KEYS, MOMENTS, RAW, ROW, SEQUENCES, Recipe
from pipeline_lib.features.recheck import Made, recheck, written_rows
from pipeline_lib.features.schema import schema_of, to_bytes
from pipeline_lib.features.sequences import channels_of
from pipeline_lib.features.table_files import TableWriter, with_columns
from pipeline_lib.runs import Out, StageOutput

log = logging.getLogger(__name__)
Matrix = npt.NDArray[np.float32]
RECHECK = "recheck.json"
MIN_MEASURED = 2


def assemble(out: Out, recipe: Recipe, inputs: FeatureInputs, parts: Sequence[StageOutput], threads: int) -> None:
    """Write schema and tables.

    Raises:
        ContractError: no column; ranges that are not the rows; a column in another place, a group of zeros only, a
            scaler that is not that of the train rows, a value that is not finite; names group and column.
    """
    if not recipe.names:
        raise ContractError("no feature is available: every column of every group was dropped")
    moments = reduce(Moments.merged, (Moments.read(part.path(MOMENTS)) for part in parts))
    require_not_all_zero(recipe, moments)
    scaling = scalings(moments, recipe.layout.columns, recipe.policy.min_std)
    seen = _stream(out, recipe, inputs.rows, parts, scaling)
    require_same_moments(recipe, moments, seen)
    for name in (SEQUENCES, EDGES, *([DIAGRAMS] if recipe.diagrams else [])):
        _joined(out, name, inputs.rows, parts)
    items = [name for name, _ in item_names(inputs.categories, inputs.products)]
    rechecks = recheck(recipe, inputs, lambda places: _rows_of(recipe, parts, places, items), threads)
    body = {"rechecks": [asdict(one) for one in rechecks]}
    out.path(RECHECK).write_text(json.dumps(body, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    schema = _schema(recipe, inputs, scaling)
    out.path("schema.json").write_bytes(to_bytes(schema))
    recipe.fitted.write(out.path("fitted.json"), out.path("fitted.safetensors"))
    out.facts.update(_facts(recipe, inputs, schema), steps=sum(int(part.facts["steps"]) for part in parts))


def require_not_all_zero(recipe: Recipe, moments: Moments) -> None:
    """A group whose measured columns are all 0 on train was not computed: undefined is NaN and never 0 (L27)."""
    measured = [
        (i, group, column)
        for i, (group, column) in enumerate(recipe.layout.columns)
        if column.kind in {"num", "prob", "emb", "cyc"} and moments.n[i] > 0
    ]
    for name in recipe.layout.groups:
        own = [(i, column) for i, group, column in measured if group == name]
        if len(own) >= MIN_MEASURED and all(moments.mean[i] == 0 and moments.m2[i] == 0 for i, _ in own):
            raise ContractError(
                f"group {name}: column {own[0][1].name} and {len(own) - 1} more are 0 in every train row"
            )


def require_same_moments(recipe: Recipe, used: Moments, seen: Moments) -> None:
    """The scaler is that of the train rows and of no others (L08)."""
    for i, (group, column) in enumerate(recipe.layout.columns):
        if (used.n[i], used.mean[i], used.m2[i]) != (seen.n[i], seen.mean[i], seen.m2[i]):
            own, train = (f"{m.mean[i]:.6g} of {m.n[i]:.0f} values" for m in (used, seen))
            raise ContractError(
                f"group {group}: column {column.name} is scaled with mean {own}, expected {train}, the train rows'"
            )


def _stream(
    out: Out, recipe: Recipe, rows: pl.DataFrame, parts: Sequence[StageOutput], scaling: Sequence[Scaling]
) -> Moments:
    """Write both matrices; returns the moments of the train rows."""
    columns = [column for _, column in recipe.layout.columns]
    raw = out.path("feature_matrix.parquet", rows=len(rows))
    scaled = out.path("x_norm.parquet", rows=len(rows))
    seen: Moments | None = None
    first = 0
    with TableWriter(raw) as raw_writer, TableWriter(scaled) as scaled_writer:
        for place, part in enumerate(parts, start=1):
            table = pl.read_parquet(part.path(RAW))
            _require_part(recipe, table, rows.slice(first, len(table)))
            matrix = table.select(recipe.names).to_numpy()
            z = normalise(matrix, columns, scaling, recipe.policy.clip_z)
            _require_finite(recipe, z)
            raw_writer.write(table.to_arrow())
            scaled_writer.write(with_columns(table.select(KEYS), recipe.names, z).to_arrow())
            own = Moments.of(matrix[(rows["split"].slice(first, len(table)) == "train").to_numpy()])
            seen = own if seen is None else seen.merged(own)
            first += len(table)
            log.info("range %d of %d written, %d of %d rows", place, len(parts), first, len(rows))
    if first != len(rows) or seen is None:
        raise ContractError(f"the ranges hold {first} rows, expected the {len(rows)} of split_assignment")
    return seen


def _require_part(recipe: Recipe, table: pl.DataFrame, rows: pl.DataFrame) -> None:
    if not table.select(ROW).equals(rows.select(ROW)):
        raise ContractError(f"{RAW}: expected {len(table)} rows of split_assignment in its order, found others")
    for place, ((group, column), found) in enumerate(
        zip(recipe.layout.columns, table.columns[len(ROW) :], strict=False)
    ):
        if column.name != found:
            raise ContractError(f"group {group}: expected column {column.name} at place {place}, found {found}")
    if len(table.columns) != len(ROW) + len(recipe.names):
        group, last = recipe.layout.columns[-1]
        more = ", ".join(table.columns[len(ROW) + len(recipe.names) :]) or "fewer"
        raise ContractError(f"expected {len(recipe.names)} columns, the last {group}.{last.name}, found {more}")


def _require_finite(recipe: Recipe, z: Matrix) -> None:
    for i in np.flatnonzero(~np.isfinite(z).all(axis=0))[:1]:
        group, column = recipe.layout.columns[i]
        raise ContractError(f"group {group}: column {column.name} has values that are not finite after scaling")


def _joined(out: Out, name: str, rows: pl.DataFrame, parts: Sequence[StageOutput]) -> None:
    with TableWriter(out.path(name, rows=len(rows))) as writer:
        for part in parts:
            file = pq.ParquetFile(part.path(name))
            for group in range(file.num_row_groups):
                writer.write(file.read_row_group(group))


def _rows_of(recipe: Recipe, parts: Sequence[StageOutput], places: npt.NDArray[np.int64], items: Sequence[str]) -> Made:
    """What the ranges hold of some rows, in the order asked for."""
    starts = np.concatenate([[0], np.cumsum([int(part.facts["rows"]) for part in parts])])
    owner = np.searchsorted(starts, places, side="right") - 1
    back = np.argsort(np.argsort(owner, kind="stable"), kind="stable")

    def table(file: str, columns: Sequence[str]) -> pa.Table:
        near = [rows_at(parts[n].path(file), places[owner == n] - starts[n], columns) for n in np.unique(owner)]
        return pa.concat_tables(near).take(back)

    return written_rows(recipe, items, table)


def _schema(recipe: Recipe, inputs: FeatureInputs, scaling: Sequence[Scaling]) -> dict[str, Any]:
    fitted, policy = recipe.fitted, recipe.policy
    channels, lost = channels_of(fitted.absent)
    dropped: list[tuple[str, Column, str]] = [*recipe.layout.dropped, *(("sequence", c, why) for c, why in lost)]
    codes = dict(inputs.categories.select("mcc_idx", "code").iter_rows())
    top = fitted.arrays.get("mcc_multihot", {}).get("top", np.zeros(0, dtype=np.int64))
    facts = {
        "sequence": {"channels": [column.name for column in channels], "max_len": policy.sequence.max_len},
        "diagrams": recipe.diagrams,
        "items": described_items(inputs.categories, inputs.products),
        "mcc_vocab": [str(codes[int(idx)]) for idx in top],
        "dropped": [{"name": column.name, "group": group, "why": why} for group, column, why in dropped],
        "fitted_on": fingerprint(inputs.rows.filter(pl.col("split") == "train"), fitted.max_event_date),
    }
    return schema_of(policy, recipe.plan.generators, recipe.layout.groups, scaling, fitted, facts)


def _facts(recipe: Recipe, inputs: FeatureInputs, schema: dict[str, Any]) -> dict[str, Any]:
    counts = inputs.rows["split"].value_counts().sort("split")
    return {
        "schema_hash": schema["schema_hash"],
        "artefact_hash": schema["artefact_hash"],
        "features": len(recipe.names),
        "groups": {name: len(settled.kept) for name, settled in recipe.layout.groups.items()},
        "dropped": {one["name"]: one["why"] for one in schema["dropped"]},
        "items": len(schema["items"]),
        "rows": {str(split): int(count) for split, count in counts.iter_rows()},
        "opened": list(inputs.opened),
    }
