"""Reading the evidence: which chains there are and what their segments hold.

A stale or racing listing must never look like a missing row: when a chain seems to have a hole it is listed
again before anybody is told. Source: audit.md 4.6, F15.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pipeline_lib.audit.segment import Chain
from pipeline_lib.errors import ChainBroken
from pipeline_lib.objects import Objects

_KEY = re.compile(r"seg/([^/]+)/([0-9]{10})/([0-9]{12})\.jsonl")


def chains(store: Objects, origin: str) -> dict[Chain, list[str]]:
    """Every chain with the keys of its segments in order, by writer and epoch.

    Raises:
        ChainBroken: an object under ``seg/`` that is not named like a segment.
    """
    found: dict[Chain, list[str]] = {}
    for key in store.list("seg"):
        match = _KEY.fullmatch(key)
        if match is None:
            raise ChainBroken(f"{store.url}/{key} is not named like a segment", 0)
        found.setdefault(Chain(origin, match[1], int(match[2])), []).append(key)
    return found


def first_seq(key: str) -> int:
    """Sequence number of the first entry of the segment under ``key``."""
    return int(key.rsplit("/", 1)[1].removesuffix(".jsonl"))


def read(store: Objects, keys: Sequence[str]) -> Iterator[bytes]:
    for key in keys:
        yield store.get(key)
