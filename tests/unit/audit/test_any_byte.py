"""Any single byte changed, any file cut or removed, in any store of the record: verification does not say INTACT."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.audit import session, verify
from pipeline_lib.settings import Settings
from pipeline_lib.store import QueryStore
from tests.crash.record.scene import append, once, opened, scratch

EVIDENCE = ("audit/seg", "anchors/ckpt", "anchors/leaves", "store/witness")


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    made = scratch(tmp_path_factory.mktemp("any-byte") / "record")
    writer = opened(made)
    for number in range(2):
        append(writer, f"byte.{number}", 2)
        once(made, f"byte.once.{number}")
        session.commit(made)
    assert verify.examine(made).verdict == "INTACT"
    return made


def files(record: Settings, parts: tuple[str, ...]) -> list[Path]:
    found = [path for part in parts for path in sorted((record.place.home / part).rglob("*")) if path.is_file()]
    assert found
    return found


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_byte_of_evidence_checkpoints_leaves_and_copies(record: Settings, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(files(record, EVIDENCE)), label="file")
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1), label="offset")
    new = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[at]), label="byte")
    try:
        path.write_bytes(whole[:at] + bytes([new]) + whole[at + 1 :])
        report = verify.examine(record, with_store=False)
        assert (report.verdict, bool(report.findings)) == ("TAMPERED", True)
    finally:
        path.write_bytes(whole)


def test_any_file_removed_or_cut(record: Settings) -> None:
    for path in files(record, EVIDENCE):
        whole = path.read_bytes()
        for left in (None, b"", whole[:-1]):
            path.unlink()
            if left is not None:
                path.write_bytes(left)
            assert verify.examine(record, with_store=False).verdict == "TAMPERED", (path, left)
            path.write_bytes(whole)


def test_any_byte_of_the_query_tables_that_changes_an_answer(record: Settings) -> None:
    """A byte that LanceDB does not read (padding, statistics, old versions) changes no answer and is no finding."""

    def answers() -> object:
        store = QueryStore(record.place.query_store)
        return [sorted(map(repr, store.read(name).to_pylist())) for name in store.names() if name.startswith("log_")]

    before, changed = answers(), 0
    for path in files(record, ("lancedb",)):
        if path.suffix != ".lance":
            continue
        whole = path.read_bytes()
        for at in range(0, len(whole), max(1, len(whole) // 25)):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            report = verify.examine(record)
            try:
                same = answers() == before
            except (RuntimeError, ValueError, OSError):
                same = False
            changed += not same
            assert same or report.verdict != "INTACT", (path.name, at)
        path.write_bytes(whole)
    assert changed > 0
