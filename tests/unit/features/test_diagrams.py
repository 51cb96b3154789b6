"""What the teacher reads beside the matrix: the bars of both windows, the parents of categories, names it relies on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_lib import settings
from pipeline_lib.errors import ContractError
from pipeline_lib.features.build import inputs_of, recipe_of
from pipeline_lib.features.check import frame_of
from pipeline_lib.features.diagram_files import DIAGRAMS, require_diagrams, write_diagrams
from pipeline_lib.features.generator import Ragged
from pipeline_lib.features.groups import plan_of, shape_of
from pipeline_lib.features.inputs import usable_categories
from pipeline_lib.features.items import described_items
from pipeline_lib.features.load import opened
from pipeline_lib.features.normalise import SCALED
from pipeline_lib.features.schema import schema_hash
from pipeline_lib.features.topology import rips
from pipeline_lib.features.topology.diagrams import Diagrams
from pipeline_lib.runs import Out
from pipeline_lib.settings import Place
from tests.unit.features.conftest import Bank, only

KEYS = ["customer_key", "cutoff_date"]
TOPOLOGY = {"features": only("demographics", "tda_short", "tda_long")}
SHORT = {"short": {"max_bars": 2, "dimensions": [0, 1]}}


@pytest.fixture(scope="module")
def shaped(bank, tmp_path_factory) -> Bank:
    """The bank again with both windows of topology."""
    return _built(bank, tmp_path_factory.mktemp("shaped"))


def _built(bank: Bank, home: Path, **work: int) -> Bank:
    from pipeline_lib.features.build import build
    from tests.unit.features.conftest import _copied, open_run

    ctx = open_run(home, overrides={"features": {**TOPOLOGY["features"], "work": work}})
    first = _copied(ctx, bank.ctx.read("ingest"), None, {}, [])
    _copied(ctx, bank.ctx.read("labels"), None, {}, [first])
    build(ctx)
    return Bank(ctx)


def schema_of(bank: Bank) -> dict:
    return json.loads(bank.features.path("schema.json").read_bytes())


def bars(found: pl.Series) -> list[np.ndarray]:
    return [np.array(row, dtype=np.float32).reshape(-1, 3) for row in found.to_list()]


def test_the_bars_are_those_that_the_statistics_sum_up(shaped):
    table, raw = shaped.table(DIAGRAMS), shaped.table("feature_matrix.parquet")
    assert table.columns == [*KEYS, "tda_short", "tda_long"]
    assert table.select(KEYS).equals(raw.select(KEYS))
    for window in ("short", "long"):
        entropy, longest = (raw[f"tda_{window}_local_h0_{name}"].to_numpy() for name in ("entropy", "max"))
        found = bars(table[f"tda_{window}"])
        assert [len(own) > 0 for own in found] == (~np.isnan(longest)).tolist()
        for row in np.flatnonzero(~np.isnan(longest)):
            parts = found[row][found[row][:, 2] == 0]
            assert parts[0, 1] == parts[1, 1] == longest[row], "the infinite bar ends at the largest finite death"
            share = parts[1:, 1] / parts[1:, 1].sum()
            assert -(share * np.log(share)).sum() == pytest.approx(entropy[row], abs=1e-5)
        assert sum(len(own) for own in found) > 100
    assert schema_of(shaped)["diagrams"] == {
        "short": {"max_bars": 200, "dimensions": [0, 1]},
        "long": {"max_bars": 150, "dimensions": [0, 1]},
    }


def test_windows_and_parents_are_part_of_the_structure(shaped):
    schema = schema_of(shaped)
    schema["diagrams"]["short"]["max_bars"] += 1
    assert schema_hash(schema) != schema["schema_hash"]
    schema = schema_of(shaped)
    schema["items"][-1]["l1"] = "other"
    assert schema_hash(schema) != schema["schema_hash"]


def test_ranges_of_any_size_give_the_same_diagrams(bank, shaped, tmp_path_factory):
    small = _built(bank, tmp_path_factory.mktemp("small"), range_customers=50)
    assert len(small.stages()) > len(shaped.stages())
    assert small.table(DIAGRAMS).equals(shaped.table(DIAGRAMS))
    assert small.features.facts["schema_hash"] == shaped.features.facts["schema_hash"]


def test_statistics_and_bars_cost_one_pass(shaped, monkeypatch):
    passed, honest = [], rips.loops
    monkeypatch.setattr(rips, "loops", lambda between: passed.append(len(between)) or honest(between))
    inputs = inputs_of(shaped.ctx)
    recipe = recipe_of(shaped.ctx, inputs)
    with opened(inputs, recipe.policy, 1) as data:
        recipe.made(data.material(timed=True))
    raw = shaped.table("feature_matrix.parquet")
    clouds = sum((~np.isnan(raw[f"tda_{w}_local_h1_entropy"].to_numpy())).sum() for w in ("short", "long"))
    assert len(passed) == clouds > 100


def test_without_a_window_there_is_no_column_and_without_both_no_file(bank, rebuilt):
    assert DIAGRAMS not in bank.features.names()
    assert schema_of(bank)["diagrams"] == {}
    one = rebuilt(overrides={"features": only("demographics", "tda_short")})
    assert one.table(DIAGRAMS).columns == [*KEYS, "tda_short"]
    assert list(schema_of(one)["diagrams"]) == ["short"]


def test_bars_that_depend_on_the_other_rows_stop_the_build(bank, tmp_path_factory, monkeypatch):
    honest = Diagrams.listed

    def stretched(self: Diagrams, most: int):
        offsets, found = honest(self, most)
        return offsets, found * np.float32([1, 1 + len(self.events), 1])

    monkeypatch.setattr(Diagrams, "listed", stretched)
    with pytest.raises(
        ContractError, match=r"diagrams\.parquet: column tda_\w+\[\d+\] of customer \d+ at .* \(alone\)"
    ):
        _built(bank, tmp_path_factory.mktemp("stretched"))


@pytest.mark.parametrize(
    ("bar", "found"),
    [
        ((0.0, np.nan, 0.0), r"\(0, nan, 0\)"),
        ((0.0, np.inf, 0.0), r"\(0, inf, 0\)"),
        ((0.5, 0.4, 1.0), r"\(0\.5, 0\.4, 1\)"),
        ((-0.1, 0.4, 1.0), r"\(-0\.1, 0\.4, 1\)"),
        ((0.1, 0.4, 2.0), r"\(0\.1, 0\.4, 2\)"),
    ],
)
def test_what_is_no_bar_is_neither_written_nor_accepted(tmp_path, bar, found):
    keys, path = keys_of(3), tmp_path / DIAGRAMS
    values = np.array([(0.0, 1.0, 0.0), bar], dtype=np.float32)
    lists = {"tda_short": Ragged(np.array([0, 1, 1, 2]), values)}
    expected = rf"diagrams\.parquet: column tda_short of customer 2 at 2026-01-28: .*found {found}"
    with pytest.raises(ContractError, match=expected):
        write_diagrams(path, keys, SHORT, lists)
    rows = [values[:1].reshape(-1).tolist(), [], values[1:].reshape(-1).tolist()]
    save(path, keys, rows)
    with pytest.raises(ContractError, match=expected):
        require_diagrams(path, SHORT, keys)


def test_a_list_is_whole_and_not_longer_than_the_schema_says(tmp_path):
    path, keys = tmp_path / DIAGRAMS, keys_of(2)
    save(path, keys, [[0.0, 1.0, 0.0], [0.0, 1.0]])
    with pytest.raises(ContractError, match="customer 1 .*three numbers a bar, found 2"):
        require_diagrams(path, SHORT, keys)
    save(path, keys, [[0.0, 1.0, 0.0] * 3, []])
    with pytest.raises(ContractError, match="customer 0 .*at most 2 bars, found 3"):
        require_diagrams(path, SHORT, keys)
    save(path, keys, [[0.0, 1.0, 0.0] * 2, []])
    require_diagrams(path, SHORT, keys)
    with pytest.raises(ContractError, match="rows of split_assignment in order"):
        require_diagrams(path, SHORT, keys[::-1])


def test_the_check_before_training_reads_the_diagrams(shaped, tmp_path_factory):
    from tests.unit.features.conftest import open_run

    ctx = open_run(tmp_path_factory.mktemp("turned"), overrides=TOPOLOGY)

    def turned(out: Out) -> None:
        for name in shaped.features.names():
            out.path(name).write_bytes(shaped.features.path(name).read_bytes())
        table = shaped.table(DIAGRAMS)
        table.with_columns(table["tda_long"].list.reverse()).write_parquet(out.path(DIAGRAMS))
        out.facts.update(shaped.features.facts)

    broken = ctx.produce("features", turned)
    with pytest.raises(ContractError, match=r"diagrams\.parquet: column tda_long of customer"):
        frame_of(ctx.settings, shaped.ctx.read("ingest"), shaped.ctx.read("labels"), broken)


def keys_of(rows: int) -> pl.DataFrame:
    return pl.select(
        customer_key=pl.int_range(rows, dtype=pl.Int32), cutoff_date=pl.date(2026, 1, 28).repeat_by(rows).explode()
    )


def save(path: Path, keys: pl.DataFrame, rows: list[list[float]]) -> None:
    lists = pa.array(rows, type=pa.large_list(pa.float32()))
    pq.write_table(pa.table([*keys.to_arrow().columns, lists], names=[*KEYS, "tda_short"]), path)


def test_a_category_names_its_parents_and_a_product_has_none(bank):
    inputs = inputs_of(bank.ctx)
    items = schema_of(bank)["items"]
    assert items == described_items(inputs.categories, inputs.products)
    assert [item["name"] for item in items] == bank.table("edges.parquet").columns[2:]
    assert [sorted(item) for item in items[: len(inputs.products)]] == [["kind", "name"]] * len(inputs.products)
    known = inputs.categories.with_columns(pl.col("mcc_idx").cast(pl.Int32)).join(
        usable_categories(inputs.categories), on="mcc_idx"
    )
    parents = {name: (l1, l2) for name, l1, l2 in known.select("name", "l1", "l2").iter_rows()}
    leaves = items[len(inputs.products) :]
    assert {item["name"]: (item["l1"], item["l2"]) for item in leaves} == parents
    assert len({item["l1"] for item in leaves}) > 1


def test_the_names_that_the_teacher_relies_on(bank):
    """Declared by the policy as it ships: clusters, hidden states and masks are found by these names (artefacts.md)."""
    policy = settings.load("synthetic", Place(dataset="synthetic")).features
    groups = {name: own.columns for name, own in plan_of(shape_of(inputs_of(bank.ctx)), policy).generators.items()}
    clusters = groups["gmm_clustering"]
    count = sum(column.kind == "prob" for column in clusters)
    assert [c.name for c in clusters[:count]] == [f"gmm_prob_{k:02d}" for k in range(policy.mixture.clusters)]
    assert {name for name, own in groups.items() for c in own if c.name.startswith("gmm_prob_")} == {"gmm_clustering"}
    masks = {c.name for c in groups["availability"]}
    assert {c.kind for c in groups["availability"]} == {"mask"}
    assert not {"mask", "prob"} & set(SCALED)
    for mode in ("journey", "lifecycle", "behavior"):
        states = getattr(policy.hmm, mode).states
        own = groups[f"hmm_{mode}"]
        assert [c.name for c in own[: len(states)]] == [f"hmm_{mode}_state_prob_{state}" for state in states]
        assert {c.kind for c in own[len(states) :]} == {"num"}
        assert f"valid_hmm_{mode}" in masks
    assert {"valid_gmm", "avail_lightgcn", "avail_hgcn", "avail_temporal", "avail_perslay"} <= masks
