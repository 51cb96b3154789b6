"""A scratch record and one process that writes to it, timed."""

from __future__ import annotations

import time
from pathlib import Path

from pipeline_lib import settings as settings_module
from pipeline_lib import signing
from pipeline_lib.audit import catalogue, session
from pipeline_lib.audit.segment import Entry
from pipeline_lib.keys import KeyFolder
from pipeline_lib.settings import Place, Settings

COMMON = {"actor_kind": "service", "actor_ref": "bench", "phase": "single", "severity": "info", "reason": "x" * 300}
PAYLOAD = catalogue.complete("log_operation", COMMON)


def scratch(folder: Path) -> Settings:
    stores = {part: f"file://{folder}/{part}" for part in ("root", "audit", "anchors")}
    place = Place(**stores, query_store=f"{folder}/lancedb", keys=folder / "keys", home=folder)
    made = settings_module.load("synthetic", Place()).model_copy(update={"place": place})
    keys = KeyFolder(place.keys)
    keys.create_secrets(made.audit.key_id)
    signing.create_keys(keys)
    return made


def write(settings: Settings, name: str, appends_: int, batch: int) -> float:
    """Wall seconds of so many appends of ``batch`` entries to a chain of its own."""
    writer = session.writer(settings, "bench")
    start = time.perf_counter()
    for number in range(appends_):
        writer.append([entry(f"{name}.{number}.{row}") for row in range(batch)])
    return time.perf_counter() - start


def entry(idem: str) -> Entry:
    return Entry("log_operation", "drill", PAYLOAD, idem)
