"""The customer hashes that decide split and order, computed again from the salt. Source: data.md 7.2."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

BUCKETS = 10_000


def customer_hash(salt: str, key: int) -> int:
    """``int(sha256(utf8(salt + "|" + key)).hexdigest()[:15], 16)``: the same in Python and in DuckDB."""
    return int(hashlib.sha256(f"{salt}|{key}".encode()).hexdigest()[:15], 16)


def buckets(salt: str, keys: Iterable[int]) -> list[int]:
    return [customer_hash(salt, key) % BUCKETS for key in keys]


def split_of(bucket: int, train_buckets: int, val_buckets: int) -> str:
    """``train``, ``val`` or ``test``: which side of the split a customer is on."""
    if bucket < train_buckets:
        return "train"
    return "val" if bucket < train_buckets + val_buckets else "test"
