"""Stores that are behind, stale, half made or full: what is said then, and what is never said."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_lib.audit import anchors, checkpoint, current, load, session
from pipeline_lib.audit.segment import Entry
from pipeline_lib.business_time import utc_now
from pipeline_lib.errors import AppendFailed, StoreError, Tampered
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import LocalObjects
from pipeline_lib.settings import Settings
from pipeline_lib.store import QueryStore, quarter_table

Beat = Callable[..., Entry]


def next_process() -> None:
    current._require.cache_clear()


def folder(url: str) -> Path:
    return Path(url.removeprefix("file://"))


@pytest.mark.parametrize("part", ["audit", "anchors"])
def test_nobody_writes_onto_an_older_copy(config: Settings, beat: Beat, part: str) -> None:
    session.record_once(config, "test", [beat("i-1")])
    session.commit(config)
    place = folder(getattr(config.place, part))
    shutil.copytree(place, place.with_name("older"))
    session.record_once(config, "test", [beat("i-2")])
    session.commit(config)
    place.rename(place.with_name("newer"))
    place.with_name("older").rename(place)
    next_process()
    for write in (lambda: session.writer(config, "test"), lambda: session.record_once(config, "test", [beat("i-3")])):
        with pytest.raises(AppendFailed, match="STORE_BEHIND_ANCHOR" if part == "audit" else "ANCHOR_MISMATCH"):
            write()
    shutil.copytree(place.with_name("newer"), place, dirs_exist_ok=True)
    session.record_once(config, "test", [beat("i-3")])
    session.commit(config)
    assert session.verification(config).verdict == "INTACT"


def test_a_verification_is_recorded_on_an_older_copy_too(config: Settings, beat: Beat) -> None:
    receipt = session.record_once(config, "test", [beat("i-1")])
    session.commit(config)
    shutil.rmtree(folder(config.place.audit) / "seg" / receipt.writer_id)
    next_process()
    with pytest.raises(Tampered):
        session.verify_record(config)
    assert [row.header["event"] for row in session.rows(config)] == ["verify_result"]


def test_anchors_that_cannot_be_read_refuse_the_first_entry(
    config: Settings, beat: Beat, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: LocalObjects, prefix: str) -> list[str]:
        raise StoreError(f"{prefix}: 503")

    monkeypatch.setattr(LocalObjects, "list", refuse)
    with pytest.raises(AppendFailed, match="cannot be told"):
        session.record_once(config, "test", [beat("i-1")])


@pytest.mark.parametrize("part", ["seg", "ckpt", "witness"])
def test_a_store_that_cannot_be_listed_is_never_an_empty_one(
    config: Settings, beat: Beat, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    session.record_once(config, "test", [beat("i-1")])
    session.commit(config)
    listed = LocalObjects.list

    def refuse(store: LocalObjects, prefix: str) -> list[str]:
        if prefix == part:
            raise StoreError(f"{prefix}: 503")
        return listed(store, prefix)

    monkeypatch.setattr(LocalObjects, "list", refuse)
    report = session.verification(config)
    assert (report.verdict, report.findings) == ("INCOMPLETE", ())
    assert "503" in report.checks[0].reason


@pytest.mark.parametrize("part", ["seg", "ckpt", "witness"])
def test_a_stale_listing_is_no_finding(
    config: Settings, beat: Beat, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    writer = session.writer(config, "test")
    session.commit(config)
    listed = LocalObjects.list
    stale = listed(LocalObjects(folder(config.place.root if part == "witness" else getattr(
        config.place, "audit" if part == "seg" else "anchors"))), part)  # fmt: skip
    writer.append([beat("i-1")])
    session.commit(config)
    receipt = writer.append([beat("i-2")])
    monkeypatch.setattr(LocalObjects, "list", lambda store, prefix: stale if prefix == part else listed(store, prefix))
    report = session.verification(config, [receipt])
    assert (report.verdict, report.to_ckpt) == ("INTACT", 2)
    assert checkpoint.seal(config).checkpoint is not None


def test_what_is_missing_is_missing_although_it_is_asked_for_by_name(config: Settings, beat: Beat) -> None:
    receipt = session.record_once(config, "test", [beat("i-1")])
    session.commit(config)
    shutil.rmtree(folder(config.place.audit) / "seg" / receipt.writer_id)
    assert {"STORE_BEHIND_ANCHOR", "WRITER_MISSING"} <= session.verification(config).codes()


def test_checkpoints_with_a_hole_end_before_it(config: Settings, beat: Beat) -> None:
    for number in range(3):
        session.record_once(config, "test", [beat(f"i-{number}")])
        checkpoint.seal(config)
    store = LocalObjects(folder(config.place.anchors))
    store.delete(anchors.note_key(2))
    past, problem = anchors.trusted(store, KeyFolder(config.place.keys), session.origin(config))
    assert len(past) == 1
    assert problem is not None


def test_a_table_that_was_being_made_when_the_process_died_is_made_again(config: Settings, beat: Beat) -> None:
    session.record_once(config, "test", [beat("i-1")])
    checkpoint.seal(config)
    for name in ("load_state", quarter_table("log_operation", utc_now().isoformat())):
        (folder(config.place.query_store) / f"{name}.lance" / "_transactions").mkdir(parents=True)
    assert QueryStore(config.place.query_store).names() == []
    assert load.load(config).rows == 1
    assert session.verification(config).verdict == "INTACT"


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = LocalObjects(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.create("seg/a", b"x")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
