"""Segments of which only headers and some payloads are left, read as if they lay where the whole ones lay.

When payloads expire or are erased, a reduced object takes the place of a segment: the same lines, ``null`` where a
payload was. Headers commit to the payload's hash, so chain, MACs, leaves and roots still verify, and what is kept
still has to hash. Both are created and never changed; a further reduction is the next generation. Whether a payload
may be gone is no question of this module: V18. Source: audit.md 4.2, 8.3.

    reduced/<writer_id>/<epoch:010>/<first_seq:012>.<generation:03>.jsonl
"""

from __future__ import annotations

import re
from collections.abc import Set
from contextlib import AbstractContextManager
from pathlib import Path

from pipeline_lib.audit import line
from pipeline_lib.errors import ObjectMissing
from pipeline_lib.objects import Objects

FOLDER = "reduced"
_KEY = re.compile(r"reduced/([^/]+/[0-9]{10}/[0-9]{12})\.([0-9]{3})\.jsonl")


class Retained(Objects):
    """Evidence with its reduced segments: a segment that is gone is read from its newest reduction."""

    def __init__(self, inner: Objects) -> None:
        self._inner = inner
        self.url = inner.url

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        try:
            return self._inner.get_tagged(key)
        except ObjectMissing:
            left = generations(self._inner, key)
            if not left:
                raise
            return self._inner.get_tagged(left[-1])

    def exists(self, key: str) -> bool:
        return self._inner.exists(key) or bool(generations(self._inner, key))

    def list(self, prefix: str) -> list[str]:
        found = self._inner.list(prefix)
        if prefix.split("/", 1)[0] != "seg":
            return found
        matches = map(_KEY.fullmatch, self._inner.list(f"{FOLDER}{prefix.removeprefix('seg')}"))
        return sorted({*found, *(f"seg/{match[1]}.jsonl" for match in matches if match)})

    def create(self, key: str, data: bytes) -> None:
        self._inner.create(key, data)

    def put(self, key: str, data: bytes) -> None:
        self._inner.put(key, data)

    def swap(self, key: str, data: bytes, tag: str | None) -> None:
        self._inner.swap(key, data, tag)

    def delete(self, key: str) -> None:
        self._inner.delete(key)

    def put_file(self, key: str, path: Path) -> None:
        self._inner.put_file(key, path)

    def local_path(self, key: str) -> Path:
        return self._inner.local_path(key)

    def scratch(self) -> AbstractContextManager[Path]:
        return self._inner.scratch()


def generations(store: Objects, key: str) -> list[str]:
    """The reductions of a segment, the newest last."""
    if not key.startswith("seg/"):
        return []
    name = key.removeprefix("seg/").removesuffix(".jsonl")
    folder = name.rsplit("/", 1)[0]
    found = map(_KEY.fullmatch, store.list(f"{FOLDER}/{folder}"))
    return sorted(match[0] for match in found if match and match[1] == name)


def without(data: bytes, seqs: Set[int]) -> bytes:
    """A segment's bytes without the payloads of these entries; those that are gone already stay gone.

    Raises:
        ValueError: a line does not read.
    """
    return b"".join(_reduced(raw, seqs) + b"\n" for raw in data.split(b"\n")[:-1])


def reduce(stores: list[Objects], key: str, seqs: Set[int]) -> bool:
    """Put a reduction in the place of a segment; after a crash the same call completes it.

    The reduction is durable in the first store before anything is removed from any.

    Returns:
        Whether anything was still there to be removed.

    Raises:
        ObjectMissing: neither the segment nor a reduction of it exists.
        ValueError: a line does not read; nothing was removed.
    """
    first, done = stores[0], generations(stores[0], key)
    data = next((store.get(key) for store in stores if store.exists(key)), None)
    if data is None and not done:
        raise ObjectMissing(f"{first.url}/{key}: neither the segment nor a reduction of it")
    data = first.get(done[-1]) if data is None else data
    left = without(data, seqs | _gone(first, done))
    newest = first.get(done[-1]) if done else None
    kept = done[-1] if done and newest == left else _next(key, done)
    first.create(kept, left)
    removed = [(store, name) for store in stores for name in [key, *generations(store, key)] if name != kept]
    present = [(store, name) for store, name in removed if store.exists(name)]
    for store, name in present:
        store.delete(name)
    return bool(present)


def _gone(store: Objects, names: list[str]) -> set[int]:
    """Entries whose payload an earlier reduction took: a whole copy that came back does not bring them back."""
    lines = [line.parse(raw) for name in names[-1:] for raw in store.get(name).split(b"\n")[:-1]]
    return {one.seq for one in lines if one.dropped}


def _next(key: str, done: list[str]) -> str:
    number = int(done[-1].rsplit(".", 2)[1]) + 1 if done else 1
    return f"{FOLDER}/{key.removeprefix('seg/').removesuffix('.jsonl')}.{number:03}.jsonl"


def _reduced(raw: bytes, seqs: Set[int]) -> bytes:
    found = line.parse(raw)
    if found.dropped or found.seq not in seqs:
        return raw
    return raw[: -len(found.payload) - 1] + line.DROPPED + b"}"
