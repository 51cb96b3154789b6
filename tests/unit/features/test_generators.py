"""What every group of features promises, whoever made it: a new line in ``GROUPS`` is tested here at once.

The bank has customers whose events are as odd as they come; the groups are fitted once, on its train rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline_lib.features.build import inputs_of
from pipeline_lib.features.columns import BLOCKS
from pipeline_lib.features.compute import Stored, make_group
from pipeline_lib.features.fit import fit
from pipeline_lib.features.fitted import Fitted
from pipeline_lib.features.groups import GROUPS, Plan, plan_of, shape_of
from pipeline_lib.features.heavy_tails import LOG_COPIES
from pipeline_lib.features.inputs import FeatureInputs
from pipeline_lib.features.layout import Layout, lay_out
from pipeline_lib.features.load import opened
from pipeline_lib.features.material import Material
from pipeline_lib.features.plants.world import World, make_world
from pipeline_lib.runs import Out, RunContext
from pipeline_lib.settings.features import FeatureGroup, Features
from tests.unit.features.conftest import open_run

NAMES = [*GROUPS, LOG_COPIES]
ODD = {1: "cold", 2: "single event", 3: "many events", 4: "duplicate timestamps", 5: "all refunds", 6: "one category"}
MANY = 3000


@dataclass(frozen=True, repr=False)
class Family:
    """Every group of the code on one bank."""

    inputs: FeatureInputs
    train: FeatureInputs
    policy: Features
    plan: Plan
    layout: Layout
    fitted: Fitted
    batch: Material
    made: dict[str, Stored]

    def make(self, name: str, m: Material, rows: np.ndarray) -> np.ndarray:
        """Columns of a group [R, own] for the rows of ``m``, which are the rows ``rows`` of the batch."""
        before = {group: {c: values[rows] for c, values in own.items()} for group, own in self.made.items()}
        settled, learnt = self.layout.groups[name], self.fitted.arrays.get(name, {})
        own = make_group(name, self.plan.generators[name], settled, learnt, m, before)
        return np.stack(list(own.values()), axis=1)

    def expected(self, name: str) -> np.ndarray:
        return np.stack(list(self.made[name].values()), axis=1)


def with_odd_customers(events: pl.DataFrame) -> pl.DataFrame:
    """The events of the first customers replaced by odd ones."""
    own = {key: events.filter(pl.col("customer_key") == key) for key in ODD}
    pool = events.filter(pl.col("customer_key") > 20).head(MANY)
    moment = events["event_ts"].max() - timedelta(days=200)
    odd = [
        own[2].head(1),
        pool.with_columns(pl.lit(3, pl.Int32).alias("customer_key"), pl.col("event_id") + "m"),
        own[4].with_columns(pl.lit(moment).alias("event_ts"), pl.lit(moment.date()).alias("event_date")),
        own[5].with_columns(pl.lit("card_refund").alias("event_type")),
        own[6].with_columns(
            pl.lit("card_purchase").alias("event_type"),
            *(pl.lit(0, pl.UInt8).alias(c) for c in ("mcc_idx", "l1_id", "l2_id")),
        ),
    ]
    return pl.concat([events.filter(~pl.col("customer_key").is_in(list(ODD))), *odd])


def odd_bank(ctx: RunContext, source: RunContext) -> None:
    """The same ingest and labels with the odd customers; every event in one file."""
    first, labels = source.read("ingest"), source.read("labels")
    months = first.names("transaction_event/")
    events = with_odd_customers(pl.concat([pl.read_parquet(first.path(name)) for name in months]))
    shard = pl.read_parquet(first.path(first.names("customer_snapshot/")[0])).select("customer_key", "shard")
    events = events.drop("shard").join(shard, on="customer_key", how="left")

    def copy(out: Out) -> None:
        for name in first.names():
            table = pl.read_parquet(first.path(name)) if name.endswith(".parquet") else None
            if name in months:
                table = events if name == months[0] else events.clear()
            if table is not None:
                table.write_parquet(out.path(name, rows=len(table)))
        out.facts.update(first.facts)

    made = ctx.produce("ingest", copy, sources={"source:bank.csv": "odd"})

    def copy_labels(out: Out) -> None:
        for name in labels.names():
            out.path(name).write_bytes(labels.path(name).read_bytes())
        out.facts.update(labels.facts)

    ctx.produce("labels", copy_labels, inputs=[made])


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    source, ctx = (open_run(tmp_path_factory.mktemp(name)) for name in ("plain", "odd"))
    make_world(source, World(customers=150, months=13, events_per_month=8.0))
    odd_bank(ctx, source)
    inputs, base = inputs_of(ctx), ctx.settings.features
    any_group = FeatureGroup(axis="State", experts=[], distil=0.0)
    two_areas = base.hierarchy.model_copy(update={"min_branches": 2})  # all that the small bank's taxonomy has
    groups = {name: any_group for name in in_blocks(base, inputs)}
    policy = base.model_copy(update={"groups": groups, "hierarchy": two_areas})
    plan = plan_of(shape_of(inputs), policy)
    train = inputs.rows.filter(pl.col("split") == "train")
    with opened(inputs.at(train), policy, 1) as data:
        fitted = fit(plan, data)
    layout = lay_out(plan, fitted.arrays, fitted.refused, fitted.absent)
    chosen = inputs.rows.filter(pl.col("customer_key") <= 18)
    with opened(inputs.at(chosen), policy, 1) as data:
        batch = data.material(fitted.timed)
    made: dict[str, Stored] = {}
    for name in plan.order:
        if layout.groups[name].kept:
            own, learnt = layout.groups[name], fitted.arrays.get(name, {})
            made[name] = make_group(name, plan.generators[name], own, learnt, batch, made)
    return Family(inputs.at(chosen), inputs.at(train), policy, plan, layout, fitted, batch, made)


def in_blocks(policy: Features, inputs: FeatureInputs) -> list[str]:
    """Every group, block by block."""
    shape = shape_of(inputs)
    place = {name: BLOCKS.index(make(shape, policy).block) for name, make in GROUPS.items()}
    return sorted(NAMES, key=lambda name: place.get(name, BLOCKS.index("x_raw")))


@pytest.mark.parametrize("name", NAMES)
class TestEveryGroup:
    def test_it_is_made_on_a_bank_that_has_its_inputs(self, family: Family, name: str):
        assert family.layout.groups[name].kept, family.layout.groups[name].why

    def test_permuted_rows_give_permuted_values(self, family: Family, name: str):
        order = np.random.default_rng(3).permutation(len(family.batch))
        assert same(family.make(name, family.batch.at(order), order), family.expected(name)[order])

    @pytest.mark.parametrize("size", [1, 7])
    def test_the_size_of_the_batch_changes_nothing(self, family: Family, name: str, size: int):
        every = np.arange(len(family.batch))
        parts = [every[first : first + size] for first in every[::size]]
        made = np.concatenate([family.make(name, family.batch.at(rows), rows) for rows in parts])
        assert same(made, family.expected(name))

    def test_nothing_after_the_cutoff_is_read(self, family: Family, name: str):
        """Rows of the oldest cutoff from a store that ends there, against the store that goes on."""
        rows = np.flatnonzero((family.inputs.rows["split"] == "train").to_numpy())
        early = family.inputs.at(family.inputs.rows[rows])
        assert early.rows["cutoff_date"].max() < family.inputs.rows["cutoff_date"].max()
        with opened(early, family.policy, 1) as data:
            alone = data.material(family.fitted.timed)
        assert same(family.make(name, alone, rows), family.expected(name)[rows])

    def test_no_value_is_infinite_and_probabilities_sum_to_one(self, family: Family, name: str):
        assert not np.isinf(family.expected(name)).any()
        own = [c.name for c in family.layout.groups[name].kept if c.kind == "prob"]
        if own:
            total = np.sum([family.made[name][column] for column in own], axis=0)
            assert np.allclose(total[~np.isnan(total)], 1.0, atol=1e-4)

    def test_flags_and_masks_are_small_whole_numbers(self, family: Family, name: str):
        for column in family.layout.groups[name].kept:
            if column.kind in {"bin", "mask"} and column.name != "sex_f":
                known = family.made[name][column.name]
                assert set(np.unique(known[~np.isnan(known)])) <= {0.0, 1.0, 2.0, 3.0}

    def test_what_it_declares_is_what_it_has(self, family: Family, name: str):
        generator, kept = family.plan.generators[name], family.layout.groups[name].kept
        assert {c.name for c in kept} <= {c.name for c in generator.columns}
        assert all("." in source for c in kept for source in c.lineage)
        assert all(c.lineage for c in kept)
        assert set(generator.after) <= set(NAMES)


def test_names_are_unique_over_all_groups(family: Family):
    names = [column.name for _, column in family.layout.columns]
    assert len(names) == len(set(names))


def test_a_second_fit_gives_the_same_bytes(family: Family, tmp_path: Path):
    with opened(family.train, family.policy, 1) as data:
        again = fit(family.plan, data)
    for fitted, place in ((family.fitted, "a"), (again, "b")):
        fitted.write(tmp_path / f"{place}.json", tmp_path / f"{place}.safetensors")
    for kind in ("json", "safetensors"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a, b, equal_nan=True)
