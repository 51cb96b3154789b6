"""The query store: fed from the evidence, each row once, and asked as of a checkpoint."""

from collections.abc import Callable

import pytest

from pipeline_lib.audit import load, query, session, verify
from pipeline_lib.audit.segment import Chain, Entry
from pipeline_lib.errors import AuditError
from pipeline_lib.settings import Settings
from pipeline_lib.store import LOAD_STATE, QueryStore, quarter_table

Beat = Callable[..., Entry]


def test_every_covered_row_is_loaded_once(config: Settings, beat: Beat) -> None:
    for number in range(3):
        session.record_once(config, "test", [beat(f"i-{number}")])
        assert session.commit(config)["loaded_rows"] == 1
    assert session.commit(config)["loaded_rows"] == 0
    frame = query.frame(config, "log_operation")
    assert frame["leaf_index"].to_list() == [0, 1, 2]
    assert frame["ckpt_n"].to_list() == [1, 2, 3]


def test_a_row_reads_back_as_it_was_recorded(config: Settings, beat: Beat) -> None:
    details = {"psi": "0.125000000", "windows": [1, 2]}
    receipt = session.record_once(config, "test", [beat("i-1", reason="지점", details=details, try_number=3)])
    session.commit(config)
    (row,) = query.frame(config, "log_operation", columns=("reason", "details", "try_number", "dag_id")).to_dicts()
    assert (row["writer_id"], row["entry_hash"]) == (receipt.writer_id, receipt.last_entry_hash)
    assert (row["reason"], row["try_number"], row["dag_id"]) == ("지점", "3", None)
    assert row["details"] == '{"psi":"0.125000000","windows":[1,2]}'
    (stored,) = session.confirm(config, receipt)
    assert query.payloads(config, "log_operation") == [stored.payload]


def test_a_frame_as_of_a_checkpoint_does_not_change_later(config: Settings, beat: Beat) -> None:
    session.record_once(config, "test", [beat("i-1")])
    then = session.commit(config)["ckpt_n"]
    before = query.frame(config, "log_operation", as_of_ckpt=then)
    session.record_once(config, "test", [beat("i-2")])
    session.commit(config)
    assert query.frame(config, "log_operation", as_of_ckpt=then).equals(before)
    assert query.frame(config, "log_operation").height == 2
    assert [row.header["idem"] for row in session.rows(config, as_of_ckpt=then)] == ["i-1"]


def test_a_table_with_no_rows_is_an_empty_frame_with_its_columns(config: Settings) -> None:
    frame = query.frame(config, "log_guardrail", columns=("verdict",))
    assert frame.height == 0
    assert {"ts", "payload", "verdict"} <= set(frame.columns)


def test_a_question_about_an_unknown_table_or_column_is_refused(config: Settings) -> None:
    with pytest.raises(ValueError, match="log_party"):
        query.frame(config, "log_party")
    with pytest.raises(ValueError, match="colour"):
        query.frame(config, "log_guardrail", columns=("colour",))


def test_a_load_that_died_half_way_is_continued_without_doubles(config: Settings, beat: Beat) -> None:
    session.record_once(config, "test", [beat("i-1")])
    session.commit(config)
    for number in range(5):
        session.record_once(config, "test", [beat(f"j-{number}")])
    session.commit(config)
    store = QueryStore(config.place.query_store)
    (name,) = load.log_tables(store.names())
    part = store.read(name, where="leaf_index < 4")
    state = store.read(LOAD_STATE)
    store.replace(name, part)
    store.replace(LOAD_STATE, state.set_column(0, "ckpt_n", [[1]]))
    assert load.load(config) == load.Loaded(rows=2, through_ckpt=2)
    assert verify.verify(config).verdict == "INTACT"


def test_small_batches_load_the_same_rows(config: Settings, beat: Beat) -> None:
    for number in range(7):
        session.record_once(config, "test", [beat(f"i-{number}")])
    session.commit(config)
    whole = query.frame(config, "log_operation")
    small = config.model_copy(
        update={"audit": config.audit.model_copy(update={"load_batch_rows": 2, "compact_after_fragments": 2})}
    )
    assert load.rebuild(small).rows == 7
    assert query.frame(small, "log_operation").equals(whole)
    assert verify.verify(small).verdict == "INTACT"


def test_altered_evidence_is_not_loaded(config: Settings, beat: Beat) -> None:
    from pipeline_lib.audit import checkpoint

    receipt = session.record_once(config, "test", [beat("i-1", reason="aaa")])
    checkpoint.seal(config)
    key, store = Chain(receipt.origin, receipt.writer_id, 1).key_of(1), session.store(config)
    store.put(key, store.get(key).replace(b"aaa", b"aab"))
    with pytest.raises(AuditError, match="not loaded"):
        load.load(config)
    assert query.frame(config, "log_operation").height == 0


def test_rows_missing_from_the_store_are_found_and_come_back_by_a_rebuild(config: Settings, beat: Beat) -> None:
    for number in range(3):
        session.record_once(config, "test", [beat(f"i-{number}")])
    session.commit(config)
    store = QueryStore(config.place.query_store)
    (name,) = load.log_tables(store.names())
    store.replace(name, store.read(name, where="leaf_index != 1"))
    assert load.load(config).rows == 0
    assert session.verification(config).codes() == {"STORE_DIVERGED"}
    assert load.rebuild(config).rows == 3
    assert verify.verify(config).verdict == "INTACT"


def test_tables_are_split_by_quarter() -> None:
    months = {month: quarter_table("log_operation", f"2026-{month:02}-15T00:00:00.000000Z") for month in range(1, 13)}
    assert [months[month][-2:] for month in (1, 3, 4, 6, 7, 9, 10, 12)] == [
        "q1",
        "q1",
        "q2",
        "q2",
        "q3",
        "q3",
        "q4",
        "q4",
    ]
