"""Purchase cards: a card is there when it has been used, a code belongs to its system, a refund is no purchase."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from pipeline_lib.errors import SchemaError
from pipeline_lib.ingest.adapters import birmingham
from pipeline_lib.ingest.labels import label
from pipeline_lib.ingest.load import ingest
from pipeline_lib.ingest.source_tables import SourceTables
from pipeline_lib.runs import RunContext
from pipeline_lib.settings import Settings
from pipeline_lib.settings.source import Source
from tests.unit.ingest.family import FAMILY, policy

REPO = Path(__file__).resolve().parents[3]
FOLDER = Path(os.environ.get("BIRMINGHAM_SOURCE") or REPO.parent / "shared" / "data" / "birmingham_purchase_cards")
real_files = pytest.mark.skipif(
    not (FOLDER / birmingham.FILE).is_file(),
    reason=f"the purchase cards are not at {FOLDER}: set BIRMINGHAM_SOURCE",
)
SOURCE = policy("birmingham").source


def read(
    tmp_path: Path,
    change: Callable[[pl.DataFrame], pl.DataFrame],
    until: date = date(2015, 12, 7),
    source: Source = SOURCE,
) -> SourceTables:
    folder, out = tmp_path / "raw", SourceTables(tmp_path / "parts")
    for path in (folder, out.folder):
        path.mkdir()
    member = FAMILY["birmingham"]
    member.make(folder)
    member.put(folder, change(member.table(folder)))
    birmingham.read(source, folder, until, out)
    return out


def cards(tables: SourceTables, day: str) -> list[str]:
    return sorted(pl.read_parquet(tables.parts(f"snapshot/{day}")).get_column("customer_id"))


def test_card_leaves_after_idle_months_and_not_before_its_last_transaction_is_known(tmp_path: Path) -> None:
    last_of_c_2 = datetime(2015, 5, 31)
    tables = read(tmp_path, lambda rows: rows.filter((pl.col("card_id") != "c_2") | (pl.col("date") == last_of_c_2)))
    assert cards(tables, "2015-05-31") == ["c_1", "c_2", "c_3"]
    assert cards(tables, "2015-10-31") == ["c_1", "c_2", "c_3"], "five months later nobody can know that it has left"
    assert cards(tables, "2015-11-30") == ["c_1", "c_3"], "six whole months without a transaction"


def test_a_time_of_day_loses_no_event_of_a_months_last_day(tmp_path: Path) -> None:
    days, noon = tmp_path / "days", tmp_path / "noon"
    for folder in (days, noon):
        folder.mkdir()
    as_published = read(days, lambda rows: rows)
    later = read(noon, lambda rows: rows.with_columns(pl.col("date") + pl.duration(hours=12)))
    counted = [
        {month: sum(pl.read_parquet(p).height for p in t.parts(f"event/{month}")) for month in t.months("event")}
        for t in (as_published, later)
    ]
    assert counted[0] == counted[1]


def test_snapshot_does_not_depend_on_what_follows(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = read(tmp_path / "a", lambda rows: rows, date(2015, 8, 3))
    cut = read(tmp_path / "b", lambda rows: rows.filter(pl.col("date") < datetime(2015, 8, 3)), date(2015, 8, 3))
    assert whole.months("snapshot") == cut.months("snapshot") == ["2015-05-31", "2015-06-30", "2015-07-31"]
    for day in whole.months("snapshot"):
        assert cards(whole, day) == cards(cut, day)
    assert pl.read_parquet(whole.parts("dim_mcc")).equals(pl.read_parquet(cut.parts("dim_mcc")))


def test_money_that_came_back_is_a_refund(tmp_path: Path) -> None:
    rows = pl.read_parquet(read(tmp_path, lambda rows: rows).parts("event/2015-05")).sort("event_id")
    assert rows.get_column("event_type").to_list() == ["card_purchase"] * 3 + ["card_refund"]
    assert rows.get_column("amount").to_list() == [10.0, 20.0, 30.0, 5.0]
    assert rows.get_column("signed_amount").to_list() == [-10.0, -20.0, -30.0, 5.0]


def test_tree_of_categories_is_in_the_codes_and_an_empty_one_is_unknown(tmp_path: Path) -> None:
    tables = read(tmp_path, lambda rows: rows)
    tree = pl.read_parquet(tables.parts("dim_mcc")).select("code", "l2", "l1", "customer_made").rows()
    assert tree == [
        ("sap:K020", "sap:K0", "sap:K", True),
        ("sap:L100", "sap:L1", "sap:L", True),
        ("unknown", "unknown", "unknown", False),
    ]
    events = pl.read_parquet(tables.parts("event/2015-05"))
    assert events.filter(pl.col("customer_id") == "c_3").get_column("mcc_idx").to_list() == [2]
    assert tables.counts["category: none given, unknown"] == 5


def another_system(rows: pl.DataFrame) -> pl.DataFrame:
    """From August on the same codes stand in the books of another system."""
    late = pl.col("date") >= datetime(2015, 8, 1)
    return rows.with_columns(code_system=pl.when(late).then(pl.lit("oracle_2022")).otherwise("code_system"))


def test_a_new_code_system_is_refused_until_somebody_declares_it(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"code_system in row 12 is 'oracle_2022'; expected one of \['sap'\]"):
        read(tmp_path, another_system)


def test_one_code_of_two_systems_is_two_categories(tmp_path: Path) -> None:
    declared = SOURCE.model_copy(update={"params": {**SOURCE.params, "code_systems": "sap oracle_2022"}})
    tables = read(tmp_path, another_system, source=declared)
    tree = pl.read_parquet(tables.parts("dim_mcc"))
    assert tree.get_column("code").to_list() == [
        "oracle_2022:K020",
        "oracle_2022:L100",
        "sap:K020",
        "sap:L100",
        "unknown",
    ]
    assert tree.get_column("l1_id").n_unique() == 5, "no node of the tree holds codes of both"


@real_files
def test_real_cards_become_labels_of_three_tasks(make_settings: Callable[..., Settings]) -> None:
    ctx = RunContext.open(make_settings("birmingham", source=FOLDER), date(2017, 1, 2))
    facts = ingest(ctx).facts
    assert (facts["snapshots"][0], facts["newest_snapshot"]) == ("2015-05-31", "2016-12-31")
    assert (facts["customers"], facts["rows"], facts["events"], facts["quarantined"]) == (859, 12697, 56268, 0)
    assert facts["repaired"]["transaction: month outside the panel"] == 29989
    labels = label(ctx).facts
    assert [n for n, v in labels["tasks"].items() if v["status"] == "active"] == SOURCE.tasks
    assert (len(labels["cutoffs"]["train"]), labels["cutoffs"]["test"]) == (9, ["2016-11-30"])
    assert labels["tasks"]["next_mcc"]["classes"][0] == "sap:K020"
