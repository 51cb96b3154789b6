"""Full disks, clocks that lie, a chain that two processes hold, an older copy, a folder that cannot be read."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline_lib.audit import current, session, verify
from pipeline_lib.audit.log import Writer
from pipeline_lib.audit.sinks import Spill
from pipeline_lib.errors import AppendFailed
from pipeline_lib.objects import open_objects
from pipeline_lib.settings import Settings
from tests.crash.record.scene import Ack, Child, Result, append, kept, once, opened, scratch

HOUR_US = 3_600_000_000
NOBODY = 65_534


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[bool]:
    """A real file system of that size there; False when this machine does not let us mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    try:
        yield mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", str(folder)], check=True)


def _more(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)


def full_disk(folder: Path) -> Result:
    """The evidence's disk fills up while somebody writes; after there is room, a new chain goes on."""
    settings, acks, refused = scratch(folder), [], 0
    with small_disk(folder / "audit", "256k") as real, _no_large_files(not real):
        for number in range(4):
            writer = _opened_or_none(settings)
            refused += writer is None
            while writer is not None:
                try:
                    acks.append(append(writer, f"f{number}.{len(acks)}", 3 if real else 1 + len(acks) % 9))
                except AppendFailed:
                    refused += 1
                    break
        _unlimited()
        left = len(list((folder / "audit" / ".tmp").iterdir()))
        assert left == 0, f"{left} half-written files keep the next one out"
        if real:
            _more(folder / "audit")
        acks.append(append(opened(settings), "after"))
        counted = kept(settings, acks)
    how = "tmpfs of 256 KiB" if real else "limit on file size"
    return Result("full disk", f"evidence ({how})", refused, *counted, "`AppendFailed`, the chain stops")


@contextmanager
def _no_large_files(wanted: bool) -> Iterator[None]:
    """Where no file system can be mounted: writing stops at 4 KiB, in the middle of a segment."""
    if wanted:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        _unlimited()


def _unlimited() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _opened_or_none(settings: Settings) -> Writer | None:
    try:
        return opened(settings)
    except AppendFailed:
        return None


def full_derived(folder: Path, part: str) -> Result | None:
    """The disk of checkpoints, their copies or the query tables is full at the end of a run, then has room."""
    settings = scratch(folder)
    acks = [append(opened(settings), f"d.{number}", 60) for number in range(8)]
    with small_disk(folder / part, "8k") as real:
        if not real:
            return None
        (folder / part / "filler").write_bytes(bytes(8192))
        said = ""
        try:
            session.commit(settings)
        except (OSError, RuntimeError) as error:
            said = f"`{type(error).__name__}`"
        assert said, f"{part}: there was room"
        _more(folder / part)
        counted = kept(settings, acks)
    words = {"anchors": "checkpoints", "store": "copies of the checkpoints", "lancedb": "query tables"}[part]
    meanwhile = f"{said} at the end of the run; entries are not affected"
    return Result("full disk", words, 1, *counted, meanwhile)


CLOCKS: dict[str, Callable[[int], int]] = {
    "goes back an hour": lambda n: -HOUR_US if n > 2 else 0,
    "stands still": lambda n: 0,
    "is an hour fast, then right again": lambda n: HOUR_US if n < 3 else 0,
    "jumps back and forth at each entry": lambda n: HOUR_US * (-1) ** n,
}


def clock(folder: Path, name: str) -> Result:
    settings, calls, start = scratch(folder), [0], time.time_ns() // 1000

    def now_us() -> int:
        calls[0] += 1
        running = 0 if name == "stands still" else calls[0] * 1000
        return start + running + CLOCKS[name](calls[0])

    writer = opened(settings, now_us)
    acks = []
    for number in range(8):
        acks.append(append(writer, f"c.{number}"))
        if number == 4:
            session.commit(settings)
    counted = kept(settings, acks)
    rows = [row.header for row in session.rows(settings)]
    assert [row["ts"] for row in rows] == sorted({row["ts"] for row in rows}), "times do not grow"
    flags = sorted({row["clock"] for row in rows})
    notices = sorted(session.verification(settings).codes())
    said = f"order kept; `clock` is {', '.join(flags)}" + (f"; notice {', '.join(notices)}" if notices else "")
    return Result("clock", name, 1, *counted, said)


def one_chain_twice(folder: Path, times: int = 20) -> Result:
    """A process forks with its chain open, and both go on: two processes with one (writer, epoch)."""
    settings, acks, refused = scratch(folder), [], 0
    for number in range(times):
        writer = opened(settings)
        acks.append(append(writer, f"t{number}"))

        def on(say: Callable[[Ack], None], who: str, writer: Writer = writer, number: int = number) -> None:
            for at_ in range(3):
                say(append(writer, f"t{number}.{who}.{at_}", rows=1 + (who == "b")))

        children = [Child.start(lambda say, who=who: on(say, who)) for who in "ab"]  # type: ignore[misc]
        codes = [child.end() for child in children]
        refused += sum(os.waitstatus_to_exitcode(code) == 3 for code in codes)
        acks += [ack for child in children for ack in child.acks]
    assert refused >= times, "two processes went on with one chain"
    said = f"`EPOCH_CONFLICT` for {refused} of {2 * times} processes"
    return Result("at once", "two processes hold one chain", times, *kept(settings, acks), said)


def hundred_sends(folder: Path, processes: int = 10, threads: int = 10) -> Result:
    """The same entries sent a hundred times at once by ten processes: one set of rows, one receipt."""
    settings = scratch(folder)

    def send(say: Callable[[Ack], None]) -> None:
        pool = [threading.Thread(target=lambda: say(once(settings, "same.1"))) for _ in range(threads)]
        for thread in pool:
            thread.start()
        for thread in pool:
            thread.join()

    children = [Child.start(send) for _ in range(processes)]
    for child in children:
        child.end()
    acks = [ack for child in children for ack in child.acks]
    assert len(acks) == processes * threads
    assert len({ack.receipt for ack in acks}) == 1
    return Result("at once", "the same entries sent 100 times", 100, *kept(settings, acks), "one receipt for all")


def older_copy(folder: Path) -> Result:
    """Evidence of an earlier day is put back: the next process may not write, until what is missing is there."""
    settings = scratch(folder)
    acks = [append(opened(settings), "old")]
    session.commit(settings)
    shutil.copytree(folder / "audit", folder / "backup")
    acks += [append(opened(settings), "new"), once(settings, "new.once")]
    session.commit(settings)
    (folder / "audit").rename(folder / "newer")
    (folder / "backup").rename(folder / "audit")
    current._require.cache_clear()  # the next process
    ways = (lambda: session.writer(settings, "test"), lambda: session.record_once(settings, "test", []))
    refusals = [_refused(way) for way in ways]
    assert all("STORE_BEHIND_ANCHOR" in text for text in refusals), refusals
    assert session.verification(settings).codes() >= {"STORE_BEHIND_ANCHOR"}
    shutil.copytree(folder / "newer", folder / "audit", dirs_exist_ok=True)
    acks.append(append(session.writer(settings, "test"), "after"))
    said = "nobody may write: `STORE_BEHIND_ANCHOR`; `verify` says TAMPERED"
    case = "evidence of an earlier day is put back, then what it lacks"
    return Result("older copy", case, 1, *kept(settings, acks), said)


def _refused(act: Callable[[], object]) -> str:
    try:
        act()
    except AppendFailed as error:
        return str(error)
    return ""


def unreadable_folder(folder: Path) -> Result | None:
    """Somebody else's process, which may neither read nor write the evidence; None when we cannot be another user."""
    if os.geteuid() != 0:
        return None
    settings = scratch(folder)
    acks = [append(opened(settings), "before")]
    kept(settings, acks)
    for path in [folder, *folder.rglob("*")]:
        os.chmod(path, 0o755 if path.is_dir() else 0o644)
    os.chmod(folder.parent, 0o755)
    os.chmod(folder / "audit" / "seg", 0o700)

    def other(say: Callable[[Ack], None]) -> None:
        os.setgroups([])
        os.setuid(NOBODY)
        report = verify.examine(settings, with_store=False)
        assert report.verdict == "INCOMPLETE", report.findings
        say(append(opened(settings), "never"))

    child = Child.start(other)
    code = os.waitstatus_to_exitcode(child.end())
    assert (code, child.acks) == (3, []), (code, child.acks)
    acks.append(append(opened(settings), "after"))
    said = "`AppendFailed`; `verify` says INCOMPLETE, not an empty record"
    return Result("store", "the local folder may not be read, then it may", 1, *kept(settings, acks), said)


def second_sink(folder: Path) -> Result:
    """The first store takes nothing for a while; the same chain goes on in the second, and readers see both."""
    settings = scratch(folder, audit_secondary=f"file://{folder}/second")
    sink = Spill(open_objects(settings.place.audit), open_objects(f"file://{folder}/second"))
    writer = opened(settings)
    writer._store = sink
    acks = [append(writer, "s.1")]
    away = folder / "away"
    (folder / "audit").rename(away)
    (folder / "audit").write_text("no folder")  # whoever writes there gets an error
    acks += [append(writer, f"s.{number}") for number in (2, 3)]
    (folder / "audit").unlink()
    away.rename(folder / "audit")
    sink._away_until = 0.0
    acks.append(append(writer, "s.4"))
    case = "the first store is away: the second one takes the same objects"
    return Result("store", case, 1, *kept(settings, acks), "as ever, with a receipt")
