"""What the first store of the record does not take, the second one does: nothing acknowledged is lost or double."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import pytest

from pipeline_lib.audit import session
from pipeline_lib.audit.record import origin
from pipeline_lib.audit.sinks import AWAY_S, Both, Spill
from pipeline_lib.errors import AppendFailed, ObjectExists, ObjectMissing, StoreError
from pipeline_lib.objects import LocalObjects, open_objects
from pipeline_lib.records import Receipt
from pipeline_lib.serve.recorder import open_sink
from tests.unit.serve.faults.world import Sink, World


@pytest.fixture
def world(bank: Any, tmp_path: Path) -> Iterator[World]:
    made = World(bank, tmp_path)
    yield made
    made.close()


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Sink, Sink]:
    return Sink(tmp_path / "one"), Sink(tmp_path / "two")


def receipt(world: World) -> Receipt:
    return Receipt(origin=origin(world.settings), **world.ask().body["receipt"])


@pytest.mark.parametrize("keeps", [False, True], ids=["first_store_lost_it", "first_store_kept_it"])
def test_a_chain_over_both_stores_is_loaded_and_verified_as_one(world: World, keeps: bool) -> None:
    first, _ = world.record_stores()
    promised = [receipt(world)]
    first.keeps = keeps
    first.down()
    promised.append(receipt(world))
    first.keeps = False
    first.up()
    world.seconds += AWAY_S + 1
    promised.append(receipt(world))
    assert len({one.writer_id for one in promised}) == 1
    assert world.where() == (12 if keeps else 8, 4)
    committed = session.commit(world.settings)
    assert committed["waiting"] == committed["rejected"] == []
    assert committed["loaded_rows"] == 13
    report = session.verification(world.settings, promised)
    assert report.verdict == "INTACT", report
    assert [len(session.confirm(world.settings, one)) for one in promised] == [4, 4, 4]


def test_what_an_append_may_have_kept_is_not_written_to_another_chain(world: World) -> None:
    stores = world.record_stores()
    promised = [receipt(world)]
    left = [4]

    def fail_four_times() -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise StoreError("read timeout")

    stores[0].keeps = True
    for store in stores:
        store.fails = fail_four_times
    assert world.ask().body["receipt"] is None
    assert left == [0]
    promised.append(receipt(world))
    session.commit(world.settings)
    assert session.verification(world.settings, promised).verdict == "INTACT"


def test_a_clock_that_goes_back_leaves_the_entries_in_order(world: World) -> None:
    promised = [receipt(world)]
    writer: Any = world.service.append._writer  # type: ignore[attr-defined]
    now_us = writer._now_us
    writer._now_us = lambda: now_us() - 3_600_000_000
    promised.append(receipt(world))
    session.commit(world.settings)
    assert session.verification(world.settings, promised).verdict == "INTACT"


def test_a_stored_answer_survives_a_clock_that_goes_back(world: World) -> None:
    first = world.ask(idempotency_key="k1")
    world.later(hours=-3)
    assert world.ask(idempotency_key="k1") == first


def test_while_the_first_store_is_away_nobody_waits_for_it(stores: tuple[Sink, Sink]) -> None:
    seconds, asked = [0.0], []
    first, second = stores
    spill = Spill(first, second, clock=lambda: seconds[0])

    def fail() -> None:
        asked.append(seconds[0])
        raise StoreError("no answer")

    first.fails = fail
    for at in (0.0, 1.0, AWAY_S - 0.1, AWAY_S + 0.1):
        seconds[0] = at
        spill.create(f"seg/{at}", b"x")
    assert asked == [0.0, AWAY_S + 0.1]


def test_other_bytes_in_the_place_are_a_conflict_only_while_ours_are_nowhere(stores: tuple[Sink, Sink]) -> None:
    first, second = stores
    spill = Spill(first, second)
    first.create("seg/a", b"theirs")
    with pytest.raises(ObjectExists):
        spill.create("seg/a", b"ours")
    first.keeps, second.keeps = True, False
    first.down()
    second.down()
    with pytest.raises(StoreError):
        spill.create("seg/b", b"ours")
    second.up()
    LocalObjects(Path(second.url.removeprefix("file://"))).create("seg/b", b"theirs")
    with pytest.raises(StoreError, match="exists with other bytes") as caught:
        spill.create("seg/b", b"ours")
    assert not isinstance(caught.value, ObjectExists)


def test_evidence_is_read_from_both_and_written_to_the_first_alone(stores: tuple[Sink, Sink], tmp_path: Path) -> None:
    first, second = stores
    first.create("seg/a", b"1")
    second.create("seg/b", b"2")
    both = Both(first, second)
    assert both.list("seg") == ["seg/a", "seg/b"]
    assert (both.get("seg/a"), both.get("seg/b")) == (b"1", b"2")
    with pytest.raises(ObjectMissing):
        both.get("seg/c")
    first.down()
    with pytest.raises(StoreError):
        both.create("seg/c", b"3")
    assert second.list("seg") == ["seg/b"]
    refused: list[Callable[[], object]] = [
        lambda: both.put("seg/a", b""), lambda: both.swap("seg/a", b"", None), lambda: both.delete("seg/a"),
        lambda: both.put_file("seg/a", tmp_path), lambda: both.local_path("seg/a"), both.scratch,
    ]  # fmt: skip
    for call in refused:
        with pytest.raises(StoreError, match="evidence is created and read"):
            call()


class Silent:
    """Somebody who takes every call and never says a word."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def calls(self) -> list[bytes]:
        """What was said in every call so far."""
        found = []
        with suppress(BlockingIOError):
            while True:
                call, _ = self._listener.accept()
                with call:
                    found.append(call.recv(1 << 20))
        return found

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    made = Silent()
    yield made
    made.close()


@pytest.mark.usefixtures("aws")
def test_a_bucket_that_never_answers_is_left_for_the_second_store(
    monkeypatch: pytest.MonkeyPatch, silent: Silent, tmp_path: Path
) -> None:
    """Without its own timeout the first call alone would take a minute, and the test's limit would end it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", silent.url)
    sink = open_sink("s3://record", f"file://{tmp_path}/second-only", 0.2)
    sink.create("seg/a", b"x")
    assert LocalObjects(tmp_path / "second-only").get("seg/a") == b"x"
    alone = open_sink("s3://record", None, 0.2)
    with pytest.raises(StoreError, match="Read timeout"):
        alone.create("seg/a", b"x")


@pytest.mark.usefixtures("aws")
def test_when_both_stores_hang_each_is_asked_once_and_the_function_still_answers(
    world: World, silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", silent.url)
    world.variables |= {"SERVE_AUDIT": "s3://record/evidence", "SERVE_AUDIT_SECONDARY": "s3://second/evidence"}
    assert world.ask().body["status"] == "static_content"
    calls = silent.calls()
    assert [b"PUT /record/" in said or b"Host: record." in said for said in calls] == [True, False]
    assert [b"expect" in said.lower() for said in calls] == [False, False]  # it would wait a second for the go-ahead


def test_a_store_without_a_timeout_keeps_the_librarys_patience(aws: str) -> None:
    del aws
    store: Any = open_objects("s3://record")
    hurried: Any = open_objects("s3://record", 0.25)
    assert store._client.meta.config.read_timeout == boto3.client("s3").meta.config.read_timeout
    assert (hurried._client.meta.config.read_timeout, hurried._client.meta.config.connect_timeout) == (0.25, 0.25)
    assert hurried._client.meta.config.retries["total_max_attempts"] == 1


def test_without_a_second_store_a_failed_append_stays_a_failure(world: World) -> None:
    service: Any = world.start()
    first, _ = world.record_stores()
    service.append._store = first
    first.down()
    with pytest.raises(AppendFailed):
        service.append([])
    assert world.ask().body["status"] == "static_content"
