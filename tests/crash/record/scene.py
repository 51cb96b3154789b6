"""A record to be hurt, processes that write to it, and the one question: is everything acknowledged there once?"""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NoReturn

from pipeline_lib import settings as settings_module
from pipeline_lib import signing
from pipeline_lib.audit import catalogue, query, record, session
from pipeline_lib.audit.log import Writer
from pipeline_lib.audit.segment import Entry
from pipeline_lib.errors import AppendFailed
from pipeline_lib.keys import KeyFolder
from pipeline_lib.records import Receipt
from pipeline_lib.settings import Place, Settings

COMMON = {"actor_kind": "service", "actor_ref": "test", "phase": "single", "severity": "info"}
MINOR = {"CLOCK_SUSPECT"}
"""Findings that a record may have and be intact."""


@dataclass(frozen=True)
class Ack:
    """What a process was promised."""

    receipt: Receipt
    idems: tuple[str, ...]

    def to_line(self) -> str:
        return json.dumps([self.receipt.to_dict(), self.idems]) + "\n"

    @classmethod
    def of(cls, line: str) -> Ack:
        receipt, idems = json.loads(line)
        return cls(Receipt(**receipt), tuple(idems))


@dataclass(frozen=True)
class Result:
    """One line of the crash table."""

    family: str
    case: str
    times: int
    """How often it was done."""
    acknowledged: int
    """Entries."""
    whole: int
    """Entries that nobody was promised and that are there whole: the process died before it could say so."""
    meanwhile: str
    """What those who asked were told while it lasted."""
    verdict: str = "INTACT"
    lost: int = 0
    doubled: int = 0


@cache
def shipped() -> Settings:
    return settings_module.load("synthetic", Place())


def scratch(folder: Path, **elsewhere: str) -> Settings:
    """A fresh record in a folder with keys of its own; ``elsewhere`` names stores that lie elsewhere."""
    settings = at(folder, **elsewhere)
    keys = KeyFolder(settings.place.keys)
    keys.create_secrets(settings.audit.key_id)
    signing.create_keys(keys)
    return settings


def at(folder: Path, **elsewhere: str) -> Settings:
    stores = {
        "root": f"file://{folder}/store",
        "audit": f"file://{folder}/audit",
        "anchors": f"file://{folder}/anchors",
    }
    place = Place(**{**stores, "query_store": f"{folder}/lancedb", **elsewhere}, keys=folder / "keys", home=folder)
    return shipped().model_copy(update={"place": place})


def entry(idem: str) -> Entry:
    return Entry("log_operation", "drill", catalogue.complete("log_operation", COMMON), idem)


def opened(settings: Settings, now_us: Callable[[], int] | None = None) -> Writer:
    clock = {} if now_us is None else {"now_us": now_us}
    keys, origin = KeyFolder(settings.place.keys), record.origin(settings)
    return Writer.open(
        record.store(settings), keys, origin=origin, key_id=settings.audit.key_id, service="test", **clock
    )


def append(writer: Writer, name: str, rows: int = 3) -> Ack:
    idems = tuple(f"{name}.{row}" for row in range(rows))
    return Ack(writer.append([entry(idem) for idem in idems]), idems)


def once(settings: Settings, idem: str) -> Ack:
    return Ack(record.record_once(settings, "test", [entry(idem)]), (idem,))


def writing(settings: Settings, name: str, count: int, say: Callable[[Ack], None]) -> None:
    """A stream of segments, and now and then what several processes record once."""
    writer = opened(settings)
    for number in range(count):
        say(append(writer, f"{name}.{number}"))
        if number % 5 == 0:
            say(once(settings, f"shared.{number}"))


@dataclass
class Child:
    """A forked process whose promises come through a pipe."""

    pid: int
    pipe: int
    kill_after: int | None = None
    """It is killed a moment after so many promises."""
    acks: list[Ack] = field(default_factory=list)
    _rest: bytes = b""

    @classmethod
    def start(cls, act: Callable[[Callable[[Ack], None]], None], kill_after: int | None = None) -> Child:
        read, write = os.pipe()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "lancedb fork support")  # a child asks nothing of it
            pid = os.fork()
        if pid == 0:
            os.close(read)
            _lived(act, write)
        os.close(write)
        return cls(pid, read, kill_after)

    def hear(self) -> bool:
        """Take what it said; False when it is gone."""
        data = os.read(self.pipe, 65_536)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.acks += [Ack.of(line.decode()) for line in lines]
        return bool(data)

    def end(self) -> int:
        """Wait for it; its status."""
        while self.hear():
            pass
        os.close(self.pipe)
        return os.waitpid(self.pid, 0)[1]


def _lived(act: Callable[[Callable[[Ack], None]], None], pipe: int) -> NoReturn:
    code = 1
    try:
        act(lambda ack: os.write(pipe, ack.to_line().encode()) and None)
        code = 0
    except AppendFailed:
        code = 3
    finally:
        os._exit(code)


def kept(settings: Settings, acks: Sequence[Ack]) -> tuple[int, int]:
    """Entries acknowledged, and entries that are there whole though nobody was told.

    Raises:
        AssertionError: one is lost, doubled or another, the stores disagree, or the record does not verify.
    """
    committed = session.commit(settings)
    assert committed["waiting"] == committed["rejected"] == [], committed
    report = session.verification(settings, [ack.receipt for ack in acks])
    assert report.verdict == "INTACT", report.findings or report.checks
    assert report.codes() <= MINOR, report.findings
    places, idems = {}, Counter[str]()
    for row in session.rows(settings, ["log_operation"]):
        header = row.header
        idems[header["idem"]] += 1
        places[header["writer_id"], header["epoch"], header["seq"]] = (header["idem"], header["entry_hash"])
    assert Counter(query.frame(settings, "log_operation")["idem"].to_list()) == idems, "the query store differs"
    promised = {idem for ack in acks for idem in ack.idems}
    assert {idems[idem] for idem in promised} <= {1}, [(i, idems[i]) for i in promised if idems[i] != 1]
    _require_places(acks, places)
    whole = {idem for idem in idems if "." in idem} - promised
    return len(promised), len(whole)


def _require_places(acks: Iterable[Ack], places: dict[tuple[str, int, int], tuple[str, str]]) -> None:
    for ack in acks:
        found = ack.receipt
        there = [places[found.writer_id, found.epoch, seq] for seq in range(found.first_seq, found.last_seq + 1)]
        assert tuple(idem for idem, _ in there) == ack.idems
        assert there[-1][1] == found.last_entry_hash
