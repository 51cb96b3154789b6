"""Hurt a record in every way of the crash table and print it: python -m tests.crash.record --kills 200.

    --kills N    processes killed at random moments (default 200)
    --every N    of the steps that are killed at, only every n-th
    --only RE    cases whose name matches
    --page       write both tables of docs/record-drills.md
    --json       results as JSON, for the tests

Each case ends with the one question: does the record verify, and is every acknowledged entry there exactly once?
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from urllib.error import URLError

from pipeline_lib.errors import PipelineError
from pipeline_lib.runs import code_version
from tests.crash.record import bucket, faults, kills, page
from tests.crash.record.scene import Result, shipped
from tests.crash.record.table import table

Case = Callable[[Path], Result | None]


def cases(asked: argparse.Namespace, moto: str) -> dict[str, Case]:
    """Name -> what is done in a fresh folder."""
    nursery = kills.step_nursery()  # before anything starts a thread
    found: dict[str, Case] = {
        "random_kills": partial(kills.random_kills, kills=asked.kills, seed=asked.seed),
        **{f"step_kills {part}": partial(kills.step_kills, nursery, part=part, every=asked.every)
           for part in kills.PARTS},
        "lance_kills": partial(kills.lance_kills, every=asked.every),
        "eight_writers": kills.eight_writers,
        "one_chain_twice": faults.one_chain_twice,
        "hundred_sends": faults.hundred_sends,
        "full_disk": faults.full_disk,
        **{f"full_derived {part}": partial(faults.full_derived, part=part) for part in ("anchors", "store", "lancedb")},
        "unreadable_folder": faults.unreadable_folder,
        "second_sink": faults.second_sink,
        **{f"bucket {mood}": partial(bucket.bucket, upstream=moto, mood=mood) for mood in bucket.MOODS},
        **{f"clock {name}": partial(faults.clock, name=name) for name in faults.CLOCKS},
        "older_copy": faults.older_copy,
    }  # fmt: skip
    return {name: case for name, case in found.items() if re.search(asked.only, name)}


def done(name: str, case: Case) -> Result:
    """The case in a folder of its own; what did not hold is the verdict."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="record-crash-") as folder:
        try:
            result = case(Path(folder) / "record")
        except (AssertionError, PipelineError) as error:
            result = Result("FAILED", name, 0, 0, 0, f"{type(error).__name__}: {error}"[:300], "FAILED")
    print(f"{name}: {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
    return result or Result("not done", name, 0, 0, 0, "this machine lacks what it needs", "-")


@contextmanager
def moto_server(url: str, wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", url.rpartition(":")[2]], **quiet
    )
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"{url}/moto-api/", timeout=1).close()
                break
            except URLError:
                time.sleep(0.2)
        yield
    finally:
        server.terminate()
        server.wait(timeout=10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--page", action="store_true")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    code_version(), shipped()  # read once, not in every child
    chosen = cases(asked, url := f"http://127.0.0.1:{_free_port()}")
    with moto_server(url, any(name.startswith("bucket") for name in chosen)):
        results = [done(name, case) for name, case in chosen.items()]
    if asked.page:
        page.write(results)
    print(json.dumps([asdict(one) for one in results]) if asked.json else table(results))
    return int(any(one.verdict == "FAILED" for one in results))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
