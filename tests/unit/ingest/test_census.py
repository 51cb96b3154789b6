"""A benchmark set: labels are no inputs, copies stay together, the weight is no feature."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from pipeline_lib import settings
from pipeline_lib.errors import SchemaError, SettingsError
from pipeline_lib.ingest.adapters import benchmark_set
from pipeline_lib.ingest.adapters.benchmark_set import SPLITS, BenchmarkTables
from pipeline_lib.settings.benchmark import Benchmark
from tests.unit.ingest.family import FAMILY

REPO = Path(__file__).resolve().parents[3]
FOLDER = Path(os.environ.get("CENSUS_SOURCE") or REPO.parent / "shared" / "data" / "census_income_kdd")
CENSUS = settings.load_benchmark("census")
real_files = pytest.mark.skipif(
    not (FOLDER / CENSUS.file).is_file(), reason=f"the census set is not at {FOLDER}: set CENSUS_SOURCE"
)


def read(folder: Path, change: pl.Expr | None = None, reverse: bool = False) -> BenchmarkTables:
    folder.mkdir(exist_ok=True)
    member = FAMILY["census"]
    member.make(folder)
    rows = member.table(folder)
    rows = rows.with_columns(change) if change is not None else rows
    member.put(folder, rows.reverse() if reverse else rows)
    return benchmark_set.read(CENSUS, folder)


def all_rows(tables: BenchmarkTables) -> pl.DataFrame:
    return pl.concat(getattr(tables, split).with_columns(split=pl.lit(split)) for split in SPLITS).sort("row_id")


def test_labels_and_weight_are_no_features_and_types_are_those_declared(tmp_path: Path) -> None:
    tables = read(tmp_path)
    assert tables.tasks == ("income_50k", "never_married", "college")
    assert not {"income_50k", "marital_status", "education", "instance_weight"} & set(tables.features)
    assert set(tables.train.columns) == {"row_id", *tables.features, *(f"y_{t}" for t in tables.tasks), "weight"}
    types = {"whole": pl.Int32, "real": pl.Float64, "category": pl.String}
    for name in tables.features:
        assert tables.train.schema[name] == types[CENSUS.columns[name].type]


def test_a_value_that_means_yes_is_one_and_every_other_zero(tmp_path: Path) -> None:
    rows = all_rows(read(tmp_path))
    texts = FAMILY["census"].table(tmp_path).get_column("education")
    yes = texts.is_in(CENSUS.tasks["college"].positive).cast(pl.Int8)
    assert 0 < yes.sum() < len(yes)
    assert rows.get_column("y_college").to_list() == yes.to_list()


def test_row_order_moves_nobody_between_splits(tmp_path: Path) -> None:
    one, two = (all_rows(read(tmp_path / str(flag), reverse=flag)) for flag in (False, True))
    columns = [c for c in one.columns if c != "row_id"]
    assert one.select(columns).sort(columns).equals(two.select(columns).sort(columns))


def test_copies_of_one_input_are_in_one_split(tmp_path: Path) -> None:
    copies = pl.int_range(pl.len(), dtype=pl.Int32) % 7
    whole = [copies.alias(n) for n, c in CENSUS.columns.items() if c.type == "whole"]
    texts = [pl.format("{} {}", pl.lit(n), copies).alias(n) for n in CENSUS.named("feature") if n not in _whole()]
    member = FAMILY["census"]
    member.make(tmp_path)
    member.put(tmp_path, member.table(tmp_path).with_columns(*whole, *texts))
    rows = all_rows(benchmark_set.read(CENSUS, tmp_path))
    assert rows.select(CENSUS.named("feature")).n_unique() == 7
    assert rows.group_by("age").agg(pl.col("split").n_unique()).get_column("split").max() == 1


def _whole() -> list[str]:
    return [name for name, column in CENSUS.columns.items() if column.type == "whole"]


def test_positive_value_that_never_occurs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"income_50k never holds \['50000\+\.'\], expected for task income_50k"):
        read(tmp_path, pl.lit("> 50K").alias("income_50k"))


def test_task_on_a_column_that_is_a_feature_is_refused() -> None:
    body = CENSUS.model_dump()
    body["columns"]["education"]["role"] = "feature"
    with pytest.raises(ValueError, match="tasks.college: column 'education' is not declared with role label"):
        Benchmark.model_validate(body)


def test_unknown_benchmark_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match="no benchmark named 'adult'; config/benchmarks has census"):
        settings.load_benchmark("adult")


@real_files
def test_real_census_has_the_published_rates() -> None:
    rows = all_rows(benchmark_set.read(CENSUS, FOLDER))
    assert dict(rows.group_by("split").len().iter_rows()) == {"train": 121020, "val": 38820, "test": 39683}
    assert round(float(str(rows.get_column("y_income_50k").mean())), 3) == 0.062
    assert round(float(str(rows.get_column("y_never_married").mean())), 3) == 0.433
