"""Kill a process at its n-th write. Writes are counted by Python's audit events, so a new one needs no editing here.

Every event that changes the file system below the bank's home counts: a name that appears, moves or goes, a file
opened to be written. A kill is SIGKILL: no handler, no ``finally``. ``torn`` halves the temporary file that was about
to get its name, as a crash in the middle of writing it would leave it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, TextIO

How = Literal["before", "torn", "after"]
NAMING = ("os.rename", "os.link")
CHANGING = (*NAMING, "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.symlink", "os.chmod")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Write:
    number: int
    kind: str
    """Name of the audit event."""
    what: str
    """Where, in words without random names."""

    @property
    def is_private(self) -> bool:
        """In a scratch folder that nobody else looks into."""
        hidden = "<scratch>" in self.what or "/" not in self.what or ".locks" in self.what
        return hidden and not self.names_something

    @property
    def names_something(self) -> bool:
        return self.kind in NAMING


class Injector:
    """An audit hook that counts writes and kills at one of them."""

    def __init__(self, home: Path, at: int = 0, how: How = "before") -> None:
        self.writes: list[Write] = []
        self._home, self._at, self._how = str(home), at, how
        self._asleep, self._armed = False, False

    def __call__(self, event: str, given: tuple[Any, ...]) -> None:
        if self._asleep:
            return
        self._asleep = True  # what we do ourselves is no write of the library
        try:
            self._look(event, given)
        finally:
            self._asleep = False

    def stop(self) -> None:
        self._asleep = True

    def _look(self, event: str, given: tuple[Any, ...]) -> None:
        if self._armed:
            _die()
        path = self._written(event, given)
        if path is None:
            return
        what = _in_words(path, str(given[0]) if event in NAMING else None, self._home)
        self.writes.append(Write(len(self.writes) + 1, event, what))
        if len(self.writes) != self._at:
            return
        if self._how == "after":
            self._armed = True
            return
        if self._how == "torn" and Path(given[0]).is_file():
            os.truncate(given[0], Path(given[0]).stat().st_size // 2)
        _die()

    def _written(self, event: str, given: tuple[Any, ...]) -> str | None:
        """The path an event changes; None when it changes nothing of the bank's."""
        if event == "open":
            path, mode, flags = given
            writes = bool(flags & WRITING) if mode is None else any(c in str(mode) for c in "wax+")
        else:
            path, writes = given[1] if event in NAMING else (given or (None,))[0], event in CHANGING
        if not writes or isinstance(path, int) or path is None:
            return None
        name = os.fsdecode(path)
        return name if name.startswith(self._home) or not os.path.isabs(name) else None


class Nursery:
    """A process that forks the ones to be killed: it has the library loaded and no thread, which a fork would lose.

    Make it before anything starts a thread.
    """

    def __init__(self, act: Callable[..., None]) -> None:
        (read, answer), (listen, ask) = os.pipe(), os.pipe()
        if os.fork() == 0:
            os.close(read), os.close(ask)
            self._serve(act, os.fdopen(listen), os.fdopen(answer, "w"))
        os.close(answer), os.close(listen)
        self._answers, self._asks = os.fdopen(read), os.fdopen(ask, "w")

    def run(self, home: Path, at: int = 0, how: How = "before", **given: Any) -> tuple[bool, list[Write]]:
        """Act in a process of its own; returns whether it was killed, and its writes when it was not."""
        print(json.dumps({"home": str(home), "at": at, "how": how, "given": given}), file=self._asks, flush=True)
        found = json.loads(self._answers.readline())
        if "error" in found:
            raise RuntimeError(found["error"])
        return found["killed"], [Write(**one) for one in found["writes"]]

    @staticmethod
    def _serve(act: Callable[..., None], asks: TextIO, answers: TextIO) -> NoReturn:
        for line in asks:
            asked = json.loads(line)
            injector = Injector(Path(asked["home"]), asked["at"], asked["how"])
            print(json.dumps(_child(act, injector, asked)), file=answers, flush=True)
        os._exit(0)


def _child(act: Callable[..., None], injector: Injector, asked: dict[str, Any]) -> dict[str, Any]:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        with os.fdopen(write, "w") as out:
            try:
                sys.addaudithook(injector)
                act(home=asked["home"], **asked["given"])
                injector.stop()
                json.dump({"killed": False, "writes": [asdict(one) for one in injector.writes]}, out)
            except BaseException:
                injector.stop()
                json.dump({"error": traceback.format_exc()}, out)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as back:
        said = back.read()
    status = os.waitpid(pid, 0)[1]
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return {"killed": True, "writes": []} if killed else dict(json.loads(said))


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


_RANDOM = (
    (re.compile(r"/\.tmp/tmp\w+|\.tmp-\w+"), "/<scratch>"),
    (re.compile(r"/(?:once:)?promotion:[0-9a-f]{32}"), "/<row>"),
    (re.compile(r"v\d{8}-[0-9a-f]{8}"), "<version>"),
    (re.compile(r"\.locks/[0-9a-f]{32}"), ".locks/<lock>"),
    (re.compile(r"[0-9a-f]{64}"), "<digest>"),
    (re.compile(r"[0-9a-f]{32}"), "<decision>"),
    (re.compile(r"\b[0-9a-f]{16}\b"), "<hash>"),
)


def _in_words(path: str, source: str | None, home: str) -> str:
    name = path.removeprefix(home).lstrip("/")
    if source is not None and name.startswith("audit/seg/"):
        return f"record: {_row(source)}"
    for pattern, word in _RANDOM:
        name = pattern.sub(word, name)
    return name


def _row(source: str) -> str:
    """Event and phase of the row that is about to be named."""
    event, rest = Path(source).read_text(encoding="utf-8").split('"event":"', 1)[1].split('"', 1)
    phase = re.search('"phase":"([a-z]+)"', rest)
    return f"{event} {phase.group(1)}" if phase and phase.group(1) != "single" else event
