from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from io import BytesIO
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline_lib.contracts.leakage.hashing import customer_hash
from pipeline_lib.contracts.tables import EVENT, snapshot_schema
from pipeline_lib.errors import ContractError, SchemaError, SettingsError
from pipeline_lib.ingest import label_families
from pipeline_lib.ingest.labels import label
from pipeline_lib.ingest.load import ingest
from pipeline_lib.keys import KeyFolder, subject_ref
from pipeline_lib.runs import RunContext, StageOutput

LoadBank = Callable[..., RunContext]
INDEX = "restricted/toy/customer_index.parquet"


@pytest.fixture(scope="module")
def loaded(golden_bank: Any, load_bank: LoadBank) -> tuple[RunContext, StageOutput]:
    ctx = load_bank(golden_bank)
    return ctx, ingest(ctx)


def months(bank: Any) -> list[date]:
    return sorted({day for _, day in bank.holdings})


def test_tables_have_the_columns_and_types_of_the_contract(loaded: tuple[RunContext, StageOutput]) -> None:
    ctx, stage = loaded
    schema = snapshot_schema([p.short for p in ctx.settings.source.products])
    for name in stage.names("customer_snapshot/"):
        assert dict(pl.read_parquet_schema(stage.path(name))) == schema
    for name in stage.names("transaction_event/"):
        assert dict(pl.read_parquet_schema(stage.path(name))) == {c.name: c.dtype for c in EVENT}
    assert stage.names("transaction_event/") == [f"transaction_event/2015-0{m}.parquet" for m in range(1, 10)]


def test_rows_of_one_shard_lie_together_and_shard_is_the_top_of_the_shuffle_key(
    loaded: tuple[RunContext, StageOutput],
) -> None:
    ctx, stage = loaded
    salt = ctx.settings.data.splits.order_salt
    for name in [*stage.names("customer_snapshot/"), *stage.names("transaction_event/")]:
        rows = pl.read_parquet(stage.path(name))
        order = [customer_hash(salt, key) for key in rows.get_column("customer_key")]
        assert order == sorted(order)
        assert rows.get_column("shard").to_list() == [key >> 50 for key in order]


def test_events_of_a_customer_are_in_the_order_of_time_then_id(loaded: tuple[RunContext, StageOutput]) -> None:
    for name in loaded[1].names("transaction_event/"):
        rows = pl.read_parquet(loaded[1].path(name))
        for (_,), own in rows.group_by("customer_key"):
            assert own.equals(own.sort("event_ts", "event_id"))


def test_merchant_keys_are_salted_hashes_and_null_without_a_merchant(
    golden_bank: Any, load_bank: LoadBank, loaded: tuple[RunContext, StageOutput]
) -> None:
    def of(stage: StageOutput, event_type: str) -> set[int | None]:
        rows = pl.read_parquet(stage.path("transaction_event/2015-04.parquet"))
        return set(rows.filter(pl.col("event_type") == event_type).get_column("merchant_key"))

    shops = (b"merchant-v1|shop 5411", b"merchant-v1|shop 5541")
    assert of(loaded[1], "card_purchase") == {int(hashlib.sha256(shop).hexdigest()[:15], 16) for shop in shops}
    assert of(loaded[1], "card_refund") == {None}
    without = replace(golden_bank, arrange=lambda rows: rows.drop("merchant_id", strict=False))
    assert of(ingest(load_bank(without)), "card_purchase") == {None}


def test_derived_columns_are_counted_here_and_nowhere_else(loaded: tuple[RunContext, StageOutput]) -> None:
    rows = pl.read_parquet(loaded[1].path("customer_snapshot/2015-01-28.parquet")).sort("customer_key")
    assert rows.get_column("num_products").to_list() == [4, 1, 4, 1, 0, 1]
    assert rows.get_column("income_missing").to_list() == [1] * 6
    assert rows.get_column("tenure_unknown").to_list() == [0] * 6


def test_facts_count_what_was_written(golden_bank: Any, loaded: tuple[RunContext, StageOutput]) -> None:
    facts = loaded[1].facts
    assert facts["rows"] == len(golden_bank.holdings)
    assert facts["events"] == len(golden_bank.events)
    assert (facts["customers"], facts["quarantined"]) == (6, 0)
    assert (facts["newest_snapshot"], facts["loaded_through"]) == ("2015-09-28", "2015-10-04")


def test_raw_customer_ids_are_in_no_artefact(load_bank: LoadBank, new_bank: Any) -> None:
    bank = new_bank()
    bank.hold("secretid77", [date(2015, 1, 28)], "checking")
    ctx = load_bank(bank, date(2015, 2, 2))
    stage = ingest(ctx)
    for name in stage.names():
        data = stage.path(name).read_bytes()
        assert b"secretid77" not in data
        if name.endswith(".parquet"):
            assert "secretid77" not in str(pl.read_parquet(stage.path(name)).to_dicts())


def test_index_leads_from_the_pseudonym_to_the_key(loaded: tuple[RunContext, StageOutput]) -> None:
    ctx, _ = loaded
    index = pl.read_parquet(BytesIO(ctx.objects.get(INDEX)))
    pepper = KeyFolder(ctx.settings.place.keys).pepper()
    found = dict(index.iter_rows())
    assert found == {subject_ref(pepper, str(key)): key for key in range(1, 7)}


def test_keys_follow_first_appearance_then_the_number_in_the_id(load_bank: LoadBank, new_bank: Any) -> None:
    bank = new_bank()
    first, second = date(2015, 1, 28), date(2015, 2, 28)
    for customer in ("10", "9", "100"):
        bank.hold(customer, [first, second], "checking")
    bank.hold("2", [second], "checking")
    ctx = load_bank(bank, date(2015, 3, 2))
    ingest(ctx)
    pepper = KeyFolder(ctx.settings.place.keys).pepper()
    found = dict(pl.read_parquet(BytesIO(ctx.objects.get(INDEX))).iter_rows())
    assert [found[subject_ref(pepper, c)] for c in ("9", "10", "100", "2")] == [1, 2, 3, 4]


def test_later_run_keeps_every_key_and_an_earlier_one_keeps_the_longer_index(
    load_bank: LoadBank, new_bank: Any
) -> None:
    bank = new_bank()
    bank.hold("7", [date(2015, 1, 28), date(2015, 2, 28)], "checking")
    bank.hold("3", [date(2015, 2, 28)], "checking")
    ctx = load_bank(bank, date(2015, 2, 2))
    home = ctx.settings.place.home
    ingest(ctx)
    early = ctx.objects.get(INDEX)
    ingest(load_bank(bank, date(2015, 3, 2), home=home))
    late = ctx.objects.get(INDEX)
    assert pl.read_parquet(BytesIO(early)).height == 1
    assert pl.read_parquet(BytesIO(late)).height == 2
    ingest(load_bank(bank, date(2015, 2, 9), home=home))
    assert ctx.objects.get(INDEX) == late


def test_history_that_would_move_customers_is_refused(load_bank: LoadBank, new_bank: Any) -> None:
    bank = new_bank()
    bank.hold("7", [date(2015, 1, 28)], "checking")
    ctx = load_bank(bank, date(2015, 2, 2))
    ingest(ctx)
    bank.hold("3", [date(2015, 1, 28)], "checking")
    with pytest.raises(ContractError, match="other keys to the same customers"):
        ingest(load_bank(bank, date(2015, 2, 9), home=ctx.settings.place.home))


def test_nothing_after_the_logical_date_is_loaded(golden_bank: Any, load_bank: LoadBank) -> None:
    stage = ingest(load_bank(golden_bank, date(2015, 4, 28)))
    assert stage.facts["newest_snapshot"] == "2015-04-28"
    newest = pl.read_parquet(stage.path("transaction_event/2015-04.parquet")).get_column("event_ts").max()
    assert newest == datetime(2015, 4, 27, 10)
    assert stage.names("transaction_event/")[-1] == "transaction_event/2015-04.parquet"


@hypothesis_settings(
    max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
@given(disorder=st.integers(0, 2**31), blocks=st.integers(1, 4), threads=st.integers(1, 2), slices=st.integers(1, 6))
def test_order_of_months_parts_rows_and_columns_changes_no_byte(
    golden_bank: Any,
    load_bank: LoadBank,
    loaded: tuple[RunContext, StageOutput],
    disorder: int,
    blocks: int,
    threads: int,
    slices: int,
) -> None:
    ctx, stage = loaded
    other = load_bank(replace(golden_bank, disorder=disorder, blocks=blocks), threads=threads)
    assert ingest(other).content_hash == stage.content_hash
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_families, "SLICE_CUSTOMERS", -(-6 // slices))
        assert label(other).content_hash == label(ctx).content_hash


def test_same_inputs_again_give_the_same_bytes(golden_bank: Any, load_bank: LoadBank) -> None:
    ctx = load_bank(golden_bank)
    again = replace_recompute(ctx)
    assert ingest(ctx).content_hash == ingest(again).content_hash


def replace_recompute(ctx: RunContext) -> RunContext:
    place = ctx.settings.place.model_copy(update={"recompute": True})
    changed = type(ctx.settings)(**{**dict(ctx.settings), "place": place})
    return RunContext(changed, ctx.logical_date, ctx.objects)


def test_month_without_snapshot_is_named(golden_bank: Any, load_bank: LoadBank) -> None:
    holes = {k: v for k, v in golden_bank.holdings.items() if k[1] != date(2015, 3, 28)}
    with pytest.raises(SchemaError, match="2015-02-28 is followed by 2015-04-28"):
        ingest(load_bank(replace(golden_bank, holdings=holes)))


def test_month_without_events_is_named(golden_bank: Any, load_bank: LoadBank) -> None:
    holes = [e for e in golden_bank.events if e[1].month != 6]
    with pytest.raises(SchemaError, match="transaction_event 2015-06: found no events"):
        ingest(load_bank(replace(golden_bank, events=holes)))


def test_logical_date_before_the_first_snapshot_is_refused(golden_bank: Any, load_bank: LoadBank) -> None:
    with pytest.raises(SchemaError, match="no snapshot up to 2015-01-05, the first is 2015-01-28"):
        ingest(load_bank(golden_bank, date(2015, 1, 5)))


def test_two_rows_of_one_customer_are_refused(golden_bank: Any, load_bank: LoadBank) -> None:
    double = replace(golden_bank, arrange=lambda rows: pl.concat([rows, rows.head(1)]))
    with pytest.raises(SchemaError, match="customer_snapshot 2015-01-28: 1 customers have more than one row"):
        ingest(load_bank(double))


def test_column_absent_without_a_reason_is_refused(golden_bank: Any, load_bank: LoadBank) -> None:
    narrow = replace(golden_bank, arrange=lambda rows: rows.drop("country", strict=False))
    with pytest.raises(SchemaError, match=r"absent without a reason in unavailable_columns \['country'\]"):
        ingest(load_bank(narrow))


def test_unavailable_column_is_null_and_said(golden_bank: Any, load_bank: LoadBank) -> None:
    narrow = replace(golden_bank, arrange=lambda rows: rows.drop("country", strict=False))
    stage = ingest(load_bank(narrow, source={"unavailable_columns": {"country": "not recorded"}}))
    assert stage.facts["unavailable"] == {"country": "not recorded"}
    rows = pl.read_parquet(stage.path("customer_snapshot/2015-01-28.parquet"))
    assert rows.get_column("country").null_count() == rows.height


def test_wrong_type_names_column_found_and_expected(golden_bank: Any, load_bank: LoadBank) -> None:
    wide = replace(
        golden_bank,
        arrange=lambda rows: rows.with_columns(pl.col("age").cast(pl.Int64)) if "age" in rows.columns else rows,
    )
    with pytest.raises(SchemaError, match="age: found Int64, expected Int16"):
        ingest(load_bank(wide))


def test_null_where_a_value_is_promised_is_refused(golden_bank: Any, load_bank: LoadBank) -> None:
    def damage(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(sex=pl.lit(None, dtype=pl.String)) if "sex" in rows.columns else rows

    with pytest.raises(SchemaError, match=r"snapshot/2015-01-28: columns \['sex'\] hold nulls"):
        ingest(load_bank(replace(golden_bank, arrange=damage)))


def test_product_that_is_no_flag_is_refused(golden_bank: Any, load_bank: LoadBank) -> None:
    def damage(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(prod_funds=pl.lit(2, dtype=pl.Int8)) if "prod_funds" in rows.columns else rows

    with pytest.raises(SchemaError, match="column prod_funds is not 0 or 1 in 6 rows"):
        ingest(load_bank(replace(golden_bank, arrange=damage)))


def test_critical_expectation_stops_the_load_and_names_everything(golden_bank: Any, load_bank: LoadBank) -> None:
    def damage(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(age=pl.lit(7, dtype=pl.Int16)) if "age" in rows.columns else rows

    ctx = load_bank(replace(golden_bank, arrange=damage))
    with pytest.raises(SchemaError) as caught:
        ingest(ctx)
    finding = next(f for f in caught.value.findings if f.check == "customer_snapshot.age")
    assert (finding.column, finding.statistic) == ("age", "ColumnValuesToBeBetween")
    assert finding.value == "5 of 5 rows, first in row 0, e.g. 7, 7, 7"
    assert finding.threshold == "min_value=18, max_value=100"
    assert not ctx.has("ingest")


def test_warning_is_recorded_and_stops_nothing(loaded: tuple[RunContext, StageOutput]) -> None:
    verdicts = json.loads(loaded[1].path("dq_report.json").read_bytes())
    failed = {(v["suite"], v["rule"], v["severity"]) for v in verdicts if not v["success"]}
    assert ("customer_snapshot.profile", "active_mean", "warning") in failed
    assert {severity for _, _, severity in failed} == {"warning"}
    assert {v["suite"] for v in verdicts} == {
        "customer_snapshot",
        "customer_snapshot.columns",
        "customer_snapshot.profile",
        "transaction_event",
        "transaction_event.profile",
    }


def test_event_of_a_stranger_is_refused_and_too_many_stop_the_load(golden_bank: Any, load_bank: LoadBank) -> None:
    events = [*golden_bank.events, ("99", datetime(2015, 5, 5), "5411", "card_purchase", 3.0)]
    bank = replace(golden_bank, events=events)
    with pytest.raises(SchemaError) as caught:
        ingest(load_bank(bank))
    assert caught.value.message.startswith(
        "transaction_event 2015-05: 1 rows refused, share 0.050000, expected at most 0.0001;"
    )
    assert caught.value.findings == (f"the customer is in no snapshot: 1 rows, first event e{len(events) - 1:04d}",)
    stage = ingest(load_bank(bank, data={"max_quarantine_share": 0.05}))
    rows = pl.read_parquet(stage.path("quarantine_row.parquet"))
    expected = ("transaction_event", None, "the customer is in no snapshot", f"e{len(events) - 1:04d}")
    assert rows.row(0) == expected
    assert stage.facts["quarantined"] == 1


def test_event_of_a_customer_who_joined_after_the_newest_snapshot_is_counted_not_refused(
    golden_bank: Any, load_bank: LoadBank
) -> None:
    events = [*golden_bank.events, ("99", datetime(2015, 10, 1), "5411", "card_purchase", 3.0)]
    stage = ingest(load_bank(replace(golden_bank, events=events)))
    assert stage.facts["quarantined"] == 0
    assert stage.facts["repaired"]["event: customer joined after the newest snapshot"] == 1


def test_unknown_adapter_is_named(golden_bank: Any, load_bank: LoadBank) -> None:
    with pytest.raises(SettingsError, match="source adapter 'nowhere'"):
        ingest(load_bank(golden_bank, source={"adapter": "nowhere"}))
