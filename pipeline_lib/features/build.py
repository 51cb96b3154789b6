"""Features of every row of ``split_assignment``: what teacher, students and serving read.

Order: read the allowed inputs, gather each row's own data up to its cutoff, fit on train rows, compute the groups,
scale, write. Source: features.md; files in docs/artefacts.md.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline_lib.errors import ContractError
from pipeline_lib.features.compute import compute
from pipeline_lib.features.events import EventStore
from pipeline_lib.features.fit import fit
from pipeline_lib.features.fitted import Fitted
from pipeline_lib.features.groups import plan_of, shape_of
from pipeline_lib.features.history import daily_moves, history_of, load_holdings
from pipeline_lib.features.inputs import FeatureInputs
from pipeline_lib.features.items import edges, item_names
from pipeline_lib.features.layout import Layout, lay_out
from pipeline_lib.features.material import Material, load_profiles
from pipeline_lib.features.normalise import fit_scaling, normalise
from pipeline_lib.features.schema import schema_of, to_bytes
from pipeline_lib.features.sequences import channels_of, write_sequences
from pipeline_lib.runs import Out, RunContext, StageOutput
from pipeline_lib.settings.features import Features

log = logging.getLogger(__name__)
STAGE = "features"


def build(ctx: RunContext) -> StageOutput:
    """Write the feature tables and their schema.

    Raises:
        ContractError: an input is missing, or a generator did not make what it declared.
    """
    ingest, labels = ctx.read("ingest"), ctx.read("labels")
    policy, threads = ctx.settings.features, ctx.settings.place.threads
    acts = ctx.settings.source.purchase_types

    def make(out: Out) -> None:
        make_features(out, FeatureInputs.of(ingest, labels, acts), policy, threads)

    return ctx.produce(STAGE, make, inputs=[ingest, labels])


def make_features(out: Out, inputs: FeatureInputs, policy: Features, threads: int) -> None:
    """The stage on plain inputs."""
    plan = plan_of(shape_of(inputs), policy)
    with opened(inputs, policy, threads) as (store, material):
        train = np.flatnonzero((inputs.rows["split"] == "train").to_numpy())
        types = event_types(inputs.acts, policy)
        fitted = fit(plan, material.at(train), store, types, inputs.unavailable, policy.sequence.scale_quantile)
        layout = lay_out(plan, fitted.arrays, fitted.refused, fitted.absent)
        matrix = compute(plan, layout, fitted.arrays, material)
        _write_matrices(out, inputs.rows, matrix, layout, fitted, material, policy)
        sequence = policy.sequence
        steps = write_sequences(
            out.path("sequences.parquet", rows=len(inputs.rows)),
            inputs.rows,
            store,
            fitted,
            sequence.lookback_days,
            sequence.max_len,
        )
    _write_edges(out, material, fitted)
    fitted.write(out.path("fitted.json"), out.path("fitted.safetensors"))
    out.facts.update(opened=list(inputs.opened), steps=steps)


def event_types(acts: Sequence[str], policy: Features) -> dict[str, list[str]]:
    """Kind of event -> types. Spend is every act of the customer that is no inflow."""
    kinds = {name: list(types) for name, types in policy.events}
    return {"spend": [name for name in acts if name not in kinds["inflow"]], **kinds}


@contextmanager
def opened(inputs: FeatureInputs, policy: Features, threads: int) -> Iterator[tuple[EventStore, Material]]:
    """The event store of these inputs and each row's own data up to its cutoff."""
    if not inputs.events:
        raise ContractError("transaction_event: no file up to the newest cutoff; features need an event stream")
    rows = inputs.rows
    keys = rows["customer_key"].to_numpy().astype(np.int64)
    holdings = load_holdings(inputs.snapshots, np.unique(keys), inputs.products)
    types = event_types(inputs.acts, policy)
    with EventStore(inputs.events, rows, inputs.categories, daily_moves(holdings), types, threads) as store:
        yield (
            store,
            Material(
                rows=rows,
                profile=load_profiles(rows, inputs.snapshots, inputs.products),
                history=history_of(holdings, keys, rows["cutoff_date"].to_list(), policy.history_months),
                windows=store.windows(),
                category_use=store.category_use(policy.recent_days),
                categories=inputs.categories,
                products=inputs.products,
                holdings=holdings,
            ),
        )


def _write_matrices(
    out: Out,
    rows: pl.DataFrame,
    matrix: npt.NDArray[np.float32],
    layout: Layout,
    fitted: Fitted,
    m: Material,
    policy: Features,
) -> None:
    columns, train = [column for _, column in layout.columns], (rows["split"] == "train").to_numpy()
    if not columns:
        raise ContractError("no feature is available: every column of every group was dropped")
    scalings = fit_scaling(matrix, train, columns, policy.min_std)
    names = [column.name for column in columns]
    if len(set(names)) != len(names):
        raise ContractError(f"feature names repeat: {sorted({n for n in names if names.count(n) > 1})}")
    keys = rows.drop("row_id")
    _write(out, "feature_matrix.parquet", keys, names, matrix)
    scaled = normalise(matrix, columns, scalings, policy.clip_z)
    if not np.isfinite(scaled).all():
        bad = [names[i] for i in np.flatnonzero(~np.isfinite(scaled).all(axis=0))]
        raise ContractError(f"x_norm: values that are not finite in {bad}")
    _write(out, "x_norm.parquet", keys.select("customer_key", "cutoff_date"), names, scaled)
    channels, lost = channels_of(fitted)
    own = {name: list(settled.kept) for name, settled in layout.groups.items()}
    schema = schema_of(
        policy.groups,
        own,
        [*layout.dropped, *(("sequence", column, why) for column, why in lost)],
        scalings,
        {"channels": [column.name for column in channels], "max_len": policy.sequence.max_len},
        item_names(m.categories, m.products),
        fitted.fitted_on,
    )
    out.path("schema.json").write_bytes(to_bytes(schema))
    out.facts.update(_facts(rows, layout, schema))


def _write(out: Out, name: str, keys: pl.DataFrame, names: list[str], values: npt.NDArray[np.float32]) -> None:
    table = keys.hstack(pl.DataFrame(values, schema={n: pl.Float32 for n in names}, orient="row"))
    table.write_parquet(out.path(name, rows=len(table)), compression="zstd")


def _write_edges(out: Out, m: Material, fitted: Fitted) -> None:
    names = [name for name, _ in item_names(m.categories, m.products)]
    _write(out, "edges.parquet", m.rows.select("customer_key", "cutoff_date"), names, edges(m, fitted.edge_scale))


def _facts(rows: pl.DataFrame, layout: Layout, schema: dict[str, Any]) -> dict[str, Any]:
    counts = rows["split"].value_counts().sort("split")
    return {
        "schema_hash": schema["schema_hash"],
        "features": len(layout.columns),
        "groups": {name: len(settled.kept) for name, settled in layout.groups.items()},
        "dropped": {column.name: why for _, column, why in layout.dropped},
        "items": len(schema["items"]),
        "rows": {str(split): int(count) for split, count in counts.iter_rows()},
    }
