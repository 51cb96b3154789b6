"""One record under attack, and how an insider who may write to its stores goes about changing it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_lib.audit import chain, evidence, line, record, segment
from pipeline_lib.audit.segment import Chain
from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.settings import Settings

BACKUP = "backup"
"""Folder with copies of evidence and anchors as they were at the first checkpoint."""
OTHER_KEY = bytes(range(100, 132))
Change = Callable[[dict[str, Any], dict[str, Any]], None]


@dataclass(frozen=True)
class Scene:
    """One record to attack."""

    settings: Settings
    keys: KeyFolder
    folder: Path

    @property
    def store(self) -> Objects:
        return record.store(self.settings)

    @property
    def anchors(self) -> Objects:
        return open_objects(self.settings.place.anchors)

    @property
    def stream(self) -> tuple[Chain, list[str]]:
        """The longest chain and its segments."""
        found = evidence.chains(self.store, record.origin(self.settings))
        return max(found.items(), key=lambda item: len(item[1]))

    def lines(self, key: str) -> list[bytes]:
        return self.store.get(key).split(b"\n")[:-1]

    def write(self, key: str, lines: Sequence[bytes]) -> None:
        self.store.put(key, b"".join(raw + b"\n" for raw in lines))

    def swap_bytes(self, key: str, old: bytes, new: bytes) -> None:
        """Replace one thing in a segment; the attack must not miss."""
        data = self.store.get(key)
        if old not in data:
            raise ValueError(f"{key} has no {old!r}")
        self.store.put(key, data.replace(old, new, 1))


def rewrite(scene: Scene, change: Change, *, key: bytes | None = None, rehash: bool = True) -> None:
    """Change the first row of the third segment of the longest chain.

    With ``rehash`` all hashes and MACs are made again from there to the end, under ``key`` or the chain's own.
    """
    identity, keys = scene.stream
    head = identity.start(mac_root(scene))
    for number, name in enumerate(keys):
        lines, prev = [], head.entry_hash
        for at, raw in enumerate(scene.lines(name)):
            body = json.loads(raw)
            if (number, at) == (2, 0):
                change(body["header"], body["payload"])
            if rehash and number >= 2:
                payload = canonical_bytes(body["payload"])
                header = {**body["header"], "content_hash": chain.content_hash(payload), "prev_hash": prev}
                made, prev = line.seal(header, payload, key or head.key or b"")
            else:
                made, prev = canonical_bytes(body), body["entry_hash"]
            lines.append(made)
        scene.write(name, lines)
        head = head._replace(entry_hash=prev, key=chain.evolve(head.key or b""))


def again(scene: Scene, identity: Chain, head: segment.Head, row: line.Line, idem: str) -> tuple[bytes, segment.Head]:
    """A segment with one more row like ``row``."""
    payload = {name: value for name, value in row.payload_dict().items() if name != "salt"}
    entry = segment.Entry(row.log_table, row.event, payload, idem)
    now = segment.micros(row.ts) + 1
    return segment.build(identity, head, [entry], key_id=row.key_id, now_us=now, clock="ok", salts=["A" * 22])


def newest_row(scene: Scene) -> line.Line:
    return line.parse(scene.lines(scene.stream[1][-1])[-1])


def mac_root(scene: Scene) -> bytes:
    return scene.keys.audit_root(scene.settings.audit.key_id)
