"""The Czech bank: the real files where they are, copies of them damaged in one place each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline_lib.errors import SchemaError, SettingsError
from pipeline_lib.ingest.adapters import berka
from pipeline_lib.ingest.labels import label
from pipeline_lib.ingest.load import ingest
from pipeline_lib.ingest.source_tables import SourceTables
from pipeline_lib.runs import RunContext, StageOutput
from pipeline_lib.settings import Place, Settings, load

REPO = Path(__file__).resolve().parents[3]
FOLDER = Path(os.environ.get("BERKA_SOURCE") or REPO.parent / "shared" / "data" / "berka_czech_bank")
AFTER_FEBRUARY = date(1994, 3, 7)

real_files = pytest.mark.skipif(
    not (FOLDER / "account.parquet").is_file(),
    reason="the Berka files are not here: set BERKA_SOURCE or place them in ../shared/data/berka_czech_bank",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[StageOutput, StageOutput]:
    home = tmp_path_factory.mktemp("berka")
    settings = load("berka", Place(dataset="berka", home=home, source=FOLDER, threads=1))
    from pipeline_lib.keys import KeyFolder

    KeyFolder(settings.place.keys).create_secrets("test")
    ctx = RunContext.open(settings, AFTER_FEBRUARY)
    return ingest(ctx), label(ctx)


@real_files
def test_counts_of_the_real_bank(run: tuple[StageOutput, StageOutput]) -> None:
    facts = run[0].facts
    assert (len(facts["snapshots"]), facts["snapshots"][0], facts["newest_snapshot"]) == (
        14,
        "1993-01-31",
        "1994-02-28",
    )
    assert (facts["customers"], facts["rows"], facts["events"], facts["quarantined"]) == (819, 6678, 29114, 0)


@real_files
def test_holdings_begin_with_their_event_and_never_end_in_this_window(run: tuple[StageOutput, StageOutput]) -> None:
    ingested = run[0]
    held: dict[str, set[int]] = {}
    for name in ingested.names("customer_snapshot/"):
        rows = pl.read_parquet(ingested.path(name))
        assert rows.get_column("prod_account").to_list() == [1] * rows.height
        for product in ("card", "loan", "household_order", "insurance_order", "other_order", "pension_credit"):
            now = set(rows.filter(pl.col(f"prod_{product}") == 1).get_column("customer_key"))
            assert held.get(product, set()) <= now
            held[product] = now
    assert {product: len(customers) for product, customers in held.items()} == {
        "card": 3,
        "loan": 17,
        "household_order": 409,
        "insurance_order": 59,
        "other_order": 180,
        "pension_credit": 146,
    }


@real_files
def test_income_is_unknown_and_said_to_be(run: tuple[StageOutput, StageOutput]) -> None:
    rows = pl.read_parquet(run[0].path("customer_snapshot/1994-02-28.parquet"))
    assert rows.get_column("income").null_count() == rows.height
    assert "future" in run[0].facts["unavailable"]["income"]


@real_files
def test_the_banks_own_bookings_are_not_the_customers_acts(run: tuple[StageOutput, StageOutput]) -> None:
    rows = pl.read_parquet(run[0].path("dim_mcc.parquet"))
    own = set(rows.filter(~pl.col("customer_made")).get_column("code"))
    assert own == {"INTEREST_CREDIT", "PENALTY_INTEREST", "STATEMENT_FEE", "unknown"}
    assert not own & set(run[1].facts["tasks"]["next_mcc"]["classes"])


@real_files
def test_split_and_tasks_of_the_real_bank(run: tuple[StageOutput, StageOutput]) -> None:
    facts = run[1].facts
    assert facts["cutoffs"]["train"] == ["1993-05-31", "1993-06-30", "1993-07-31", "1993-08-31", "1993-09-30"]
    assert (facts["cutoffs"]["val"], facts["cutoffs"]["test"]) == (["1993-11-30"], ["1994-01-31"])
    assert facts["gap_days"] == 30
    assert facts["rows"] == {"serve": 819, "test": 180, "test_seen": 414, "train": 1149, "val": 190}
    active = [name for name, verdict in facts["tasks"].items() if verdict["status"] == "active"]
    assert active == [
        "product_stability",
        "nba_primary",
        "cross_sell_count",
        "will_acquire_payments",
        "next_mcc",
        "mcc_diversity_trend",
        "top_mcc_shift",
    ]
    assert facts["tasks"]["churn_signal"]["positives"] == 0
    assert facts["tasks"]["will_acquire_payments"]["positives"] == 154


@real_files
def test_outcomes_of_1998_and_undated_orders_are_never_read() -> None:
    assert "status" not in berka.FILES["loan"]
    assert "standing_order" not in berka.FILES
    assert berka.FILES["district"].keys() == {"district_id", "region"}


def _without(column: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda rows: rows.drop(column)


FLAWS: dict[str, tuple[str, Callable[[pl.DataFrame], pl.DataFrame], str]] = {
    "column_missing": ("loan", _without("duration"), r"loan.parquet: missing columns \['duration'\]"),
    "type_changed": (
        "account",
        lambda rows: rows.with_columns(pl.col("opened").cast(pl.String)),
        r"account.parquet: .*\n.*opened: found String, expected Datetime",
    ),
    "no_rows": ("card", lambda rows: rows.clear(), "card.parquet: found 0 rows"),
    "key_repeats": ("client", lambda rows: pl.concat([rows, rows.head(1)]), "client: key client_id repeats in 1 rows"),
    "two_owners": (
        "disposition",
        lambda rows: rows.with_columns(type=pl.lit("OWNER")),
        r"disposition \(OWNER\): key account_id repeats",
    ),
    "reference_broken": (
        "loan",
        lambda rows: rows.with_columns(account_id=pl.lit(-1, dtype=pl.Int64)),
        "loan: account_id of 356 rows is not in account, first in row 0",
    ),
    "code_unknown": (
        "transaction_1993q1_1994q1",
        lambda rows: rows.with_columns(operation=pl.lit("VKLAD2")),
        "transaction: operation in row 0 is 'VKLAD2'; expected one of",
    ),
    "date_missing": (
        "transaction_1993q1_1994q1",
        lambda rows: rows.with_columns(date=pl.lit(None, dtype=pl.Datetime("us"))),
        "column date is null in 33324 rows, first in row 0",
    ),
}


@real_files
@pytest.mark.parametrize("flaw", FLAWS)
def test_damaged_file_is_refused_by_name(flaw: str, tmp_path: Path) -> None:
    stem, change, message = FLAWS[flaw]
    folder = _copy(tmp_path)
    change(pl.read_parquet(folder / f"{stem}.parquet")).write_parquet(folder / f"{stem}.parquet")
    with pytest.raises(SchemaError, match=message):
        berka.read(load("berka").source, folder, AFTER_FEBRUARY, SourceTables(tmp_path / "parts"))


@real_files
def test_truncated_and_missing_files_are_refused_by_name(tmp_path: Path) -> None:
    folder, source = _copy(tmp_path), load("berka").source
    data = (folder / "loan.parquet").read_bytes()
    (folder / "loan.parquet").write_bytes(data[: len(data) // 2])
    with pytest.raises(SchemaError, match="loan.parquet: found .* bytes, not a readable Parquet file"):
        berka.read(source, folder, AFTER_FEBRUARY, SourceTables(tmp_path / "parts"))
    (folder / "loan.parquet").unlink()
    with pytest.raises(SchemaError, match=r"missing files \['loan.parquet'\]"):
        berka.files(source, folder)


def test_source_without_its_folder_says_which_variable_to_set(make_settings: Callable[..., Settings]) -> None:
    with pytest.raises(SettingsError, match="PIPELINE_SOURCE"):
        ingest(RunContext.open(make_settings("berka"), AFTER_FEBRUARY))


def _copy(tmp_path: Path) -> Any:
    folder = tmp_path / "berka"
    folder.mkdir()
    for stem in berka.FILES:
        shutil.copyfile(FOLDER / f"{stem}.parquet", folder / f"{stem}.parquet")
    return folder
