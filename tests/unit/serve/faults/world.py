"""One function instance over real parts that can be broken one by one, and what is seen of its next answer."""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from pipeline_lib.audit import record
from pipeline_lib.audit.sinks import Spill
from pipeline_lib.errors import StoreError
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import LocalObjects
from pipeline_lib.runs import RunContext
from pipeline_lib.serve import local
from pipeline_lib.serve.handler import respond, started
from pipeline_lib.serve.recorder import Recorder
from pipeline_lib.serve.service import Service
from pipeline_lib.serve.tables import TableUnreadable
from pipeline_lib.settings import Settings
from tests.unit.serve import contract
from tests.unit.serve.conftest import Release

TASK = "churn_signal"
CUSTOMER = "c5"
BODY = {
    "customer_id": CUSTOMER,
    "channel": "branch",
    "access_reason": "branch_initiated",
    "operator_id": "teller-1",
    "terminal_id": "t-1",
}


class Sink(LocalObjects):
    """A store of the record that can be told to fail."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.fails: Callable[[], None] = lambda: None
        self.keeps = False
        """Whether the object is there although the call failed."""

    def create(self, key: str, data: bytes) -> None:
        if self.keeps:
            super().create(key, data)
        self.fails()
        super().create(key, data)

    def down(self, why: Exception | None = None) -> None:
        def fail() -> None:
            raise why or StoreError("nobody answers")

        self.fails = fail

    def up(self) -> None:
        self.fails = lambda: None


class Slow:
    """Tables whose reads take as long as they are told, and fail when they are told to."""

    def __init__(self, inner: Any, before: Callable[[str], None]) -> None:
        self.inner, self._before = inner, before

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not callable(found):
            return found

        def asked(*given: Any) -> Any:
            self._before(name)
            return found(*given)

        return asked


@dataclass(frozen=True)
class Observed:
    http: int
    body: Mapping[str, Any]


class World:
    """``start`` opens the function; what is broken before that, it finds broken at its start."""

    def __init__(self, bank: RunContext, folder: Path) -> None:
        self.release = Release.of(bank, folder)
        self.second = folder / "second"
        self.settings = _settings(bank, folder, self.second)
        self.task = TASK
        self.seconds = 0.0
        self.remaining_ms: float | None = None
        self.changes: dict[str, Any] = {}
        self.variables: dict[str, str] = {}
        self.sinks: tuple[Sink, Sink] | None = None
        self._service: Service | None = None
        self._held: list[sqlite3.Connection] = []
        self._patched: list[tuple[Any, str, Any]] = []
        self.assess(3)

    @property
    def service(self) -> Service:
        if self._service is None:
            self._service = self._opened()
        return self._service

    def start(self) -> Service:
        return self.service

    def restart(self) -> None:
        self._service = None

    def ask(self, **changed: Any) -> Observed:
        """The answer to the teller's request, checked against the contract."""
        body = {name: value for name, value in {**BODY, **self.changes, **changed}.items() if value is not None}
        response = respond(local.event(body), lambda: self.service, self)
        assert CUSTOMER not in [*json.dumps(response).split('"')]
        return Observed(*contract.checked(response["statusCode"], json.loads(response["body"])))

    def close(self) -> None:
        """Undo what outlives this world."""
        for target, name, before in reversed(self._patched):
            setattr(target, name, before)
        for holder in self._held:
            holder.close()

    def patch(self, target: Any, name: str, value: Any) -> None:
        self._patched.append((target, name, getattr(target, name)))
        setattr(target, name, value)

    def get_remaining_time_in_millis(self) -> float:
        """As the platform's context says it."""
        return 1e9 if self.remaining_ms is None else self.remaining_ms - self.seconds * 1000

    def model(self, task: str = TASK, name: str = "model") -> Path:
        return self.release.folder / "students" / task / f"{name}.forest"

    def policy(self, **serving: Any) -> None:
        service = self.start()
        service.policy = replace(service.policy, serving={**service.policy.serving, **serving})

    def slow(self, **seconds: float) -> None:
        """Reads take so long, on this world's clock [s]."""

        def wait(name: str) -> None:
            self.seconds += seconds.get(name, 0.0)

        self.before_reads(wait)

    def unreadable(self, *names: str) -> None:
        def refuse(name: str) -> None:
            if name in names:
                raise TableUnreadable(f"{name}: nobody answers")

        self.before_reads(refuse)

    def before_reads(self, before: Callable[[str], None]) -> None:
        service: Any = self.start()
        service.tables = Slow(service.tables, before)

    def record_stores(self) -> tuple[Sink, Sink]:
        """Both stores of the record, to be broken."""
        service: Any = self.start()
        if self.sinks is None:
            self.sinks = Sink(self.release.audit), Sink(self.second)
            place = {"ORIGIN": record.origin(self.settings), "KEY_ID": self.settings.audit.key_id}
            keys = KeyFolder(self.settings.place.keys)
            service.append = Recorder(Spill(*self.sinks, clock=lambda: self.seconds), place, keys)
        return self.sinks

    def own_keys(self) -> Path:
        """Secrets of this world alone, to be lost."""
        folder = self.release.folder.parent / "own-keys"
        folder.mkdir()
        for file in self.settings.place.keys.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        self.variables["SERVE_KEYS"] = str(folder)
        return folder

    def sql(self, name: str, sql: str, *values: Any) -> None:
        with closing(sqlite3.connect(self.release.tables / f"{name}.sqlite")) as database, database:
            database.execute(sql, values)

    def assess(self, tolerance: int, days_ago: int = 0) -> None:
        day = self.release.now.date() - timedelta(days=days_ago)
        sql = "INSERT OR REPLACE INTO suitability VALUES (?, ?, ?)"
        self.sql("state", sql, self.release.subject(CUSTOMER), tolerance, day.isoformat())

    def switch(self, scope: str, target: str, fallback: str) -> None:
        self.sql("state", "INSERT INTO kill_switch VALUES ('sw1', ?, ?, ?, 1, 1)", scope, target, fallback)

    def opt_out(self, fallback: str | None) -> None:
        self.sql("state", "INSERT INTO optout VALUES (?, ?, '2026-11-01')", self.release.subject(CUSTOMER), fallback)

    def lock(self, name: str) -> None:
        """Somebody else holds the whole table until this world is closed."""
        holder = sqlite3.connect(self.release.tables / f"{name}.sqlite", isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        self._held.append(holder)

    def columns(self) -> list[str]:
        with closing(sqlite3.connect(self.release.tables / "feature_rows.sqlite")) as database:
            sql = "SELECT json_extract(body, '$.columns') FROM meta WHERE key != 'current'"
            return list(json.loads(database.execute(sql).fetchone()[0]))

    def edit_row(self, changed: Mapping[str, float] | None) -> None:
        """Features of the customer, by name; None takes the row away."""
        subject = self.release.subject(CUSTOMER)
        if changed is None:
            self.sql("feature_rows", "DELETE FROM feature_row WHERE subject_ref = ?", subject)
            return
        with closing(sqlite3.connect(self.release.tables / "feature_rows.sqlite")) as database:
            sql = "SELECT features FROM feature_row WHERE subject_ref = ?"
            values = array("f", database.execute(sql, (subject,)).fetchone()[0])
        for name, value in changed.items():
            values[self.columns().index(name)] = value
        sql = "UPDATE feature_row SET features = ? WHERE subject_ref = ?"
        self.sql("feature_rows", sql, values.tobytes(), subject)

    def later(self, **step: float) -> None:
        self.release.now += timedelta(**step)

    def replace_policy(self, **changed: Any) -> None:
        service = self.start()
        service.policy = replace(service.policy, **changed)

    def slow_prediction(self, seconds: float) -> None:
        """Predicting the usual task takes so long; what is looked at is one after it."""
        self.task = "nba_primary"
        predictor: Any = self.start().policy.models.predictor
        inner = predictor.predict

        def predict(student: Any, row: Any) -> Any:
            found = inner(student, row)
            if student.task == TASK:
                self.seconds += seconds
            return found

        predictor.predict = predict

    def take_next_place(self) -> None:
        receipt = self.ask().body["receipt"]
        folder = self.release.audit / "seg" / receipt["writer_id"] / f"{receipt['epoch']:010}"
        (folder / f"{receipt['last_seq'] + 1:012}.jsonl").write_bytes(b"somebody else was here")

    def where(self) -> tuple[int, int]:
        """Entries of answers in the first and in the second store."""
        return _entries(LocalObjects(self.release.audit)), _entries(LocalObjects(self.second))

    def _opened(self) -> Service:
        at = {"SERVE_ORIGIN": record.origin(self.settings), "SERVE_KEY_ID": self.settings.audit.key_id}
        second = {"SERVE_AUDIT_SECONDARY": f"file://{self.second}"}
        made: Any = started(self.release.environment(**{**at, **second, **self.variables}))
        made.now = lambda: self.release.now
        made.clock = lambda: self.seconds
        return made


def _entries(store: LocalObjects) -> int:
    lines = [line for key in store.list("seg") for line in store.get(key).splitlines() if line.startswith(b"{")]
    return sum(json.loads(line)["header"]["log_table"] != "log_operation" for line in lines)


def _settings(bank: RunContext, folder: Path, second: Path) -> Settings:
    place = bank.settings.place.model_copy(
        update={
            "audit": f"file://{folder}/audit",
            "audit_secondary": f"file://{second}",
            "anchors": f"file://{folder}/anchors",
            "root": f"file://{folder}/store",
            "query_store": f"{folder}/lancedb",
        }
    )
    return bank.settings.model_copy(update={"place": place})
