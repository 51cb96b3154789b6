"""Many processes, killed at any moment: what was acknowledged is there once, and the record verifies."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from pipeline_lib.audit import session, verify
from pipeline_lib.records import Receipt
from pipeline_lib.settings import Settings

APPENDER = """
import json, sys
from pathlib import Path
from pipeline_lib.audit import catalogue
from pipeline_lib.audit.log import Entry, Writer, append_once
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import open_objects

audit, keys, origin, key_id, name, count = sys.argv[1:]
common = {"actor_kind": "service", "actor_ref": "test", "phase": "single", "severity": "info"}
place = dict(origin=origin, key_id=key_id, service="test")
store, folder = open_objects(audit), KeyFolder(Path(keys))

def row(idem):
    return Entry("log_operation", "drill", catalogue.complete("log_operation", common), idem)

writer = Writer.open(store, folder, **place)
for number in range(int(count)):
    receipts = [writer.append([row(f"{name}.{number}.{item}") for item in range(3)])]
    if number % 5 == 0:
        receipts.append(append_once(store, folder, **place, entries=[row(f"shared.{number}")]))
    for receipt in receipts:
        print(json.dumps(receipt.to_dict()), flush=True)
"""


def start(config: Settings, name: str, count: int) -> subprocess.Popen[str]:
    place = config.place
    arguments = [place.audit, str(place.keys), session.origin(config), config.audit.key_id, name, str(count)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    command = [sys.executable, "-c", APPENDER, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def acknowledged(process: subprocess.Popen[str], kill_after: int | None) -> list[Receipt]:
    """Receipts a process printed; it is killed while it works on the one after ``kill_after``."""
    assert process.stdout is not None
    receipts = []
    for line in process.stdout:
        if line.endswith("\n"):
            receipts.append(Receipt(**json.loads(line)))
        if kill_after is not None and len(receipts) == kill_after:
            process.send_signal(signal.SIGKILL)
    process.stdout.close()
    process.wait()
    return receipts


def test_what_killed_processes_acknowledged_is_there_once(config: Settings) -> None:
    dice = random.Random(20261122)
    kills: list[int | None] = [dice.randint(1, 25) for _ in range(6)] + [None, None]
    receipts: list[list[Receipt]] = [[] for _ in kills]

    def follow(at: int) -> None:
        receipts[at] = acknowledged(start(config, f"p{at}", 30), kills[at])

    for wave in (range(4), range(4, 8)):
        threads = [threading.Thread(target=follow, args=(at,)) for at in wave]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        session.commit(config)
    found = [receipt for part in receipts for receipt in part]
    assert len(found) > 60
    assert verify.verify(config, found).verdict == "INTACT"
    idems = Counter(row.header["idem"] for row in session.rows(config))
    assert set(idems.values()) == {1}
    for receipt in found:
        assert len(session.confirm(config, receipt)) == receipt.last_seq - receipt.first_seq + 1
    segments: Counter[str] = Counter()
    for row in session.rows(config, tables=["log_operation"]):
        name, dot, rest = row.header["idem"].partition(".")
        if dot and name != "shared":
            segments[f"{name}.{rest.split('.')[0]}"] += 1
    assert set(segments.values()) == {3}, "a segment is there whole or not at all"
