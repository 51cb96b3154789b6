"""The record's hashes and keys: pure functions over bytes, no I/O, standard library only.

Every hash has its own prefix, so that no value of one kind can be passed off as another. ``header`` is the
canonical header without ``entry_hash`` and ``hmac``; ``sealed_header`` is the same with both.
Source: audit.md 4.4; its golden vector is a test.
"""

from __future__ import annotations

import hashlib
import hmac

HASH_BYTES = 32


def content_hash(payload: bytes) -> str:
    """Hex hash of the canonical payload as stored."""
    return hashlib.sha256(b"alog/content/v1\n" + payload).hexdigest()


def genesis(origin: str, writer_id: str, epoch: int) -> str:
    """``prev_hash`` of the first entry of one epoch of one writer: never a shared constant."""
    return hashlib.sha256(f"alog/genesis/v1\n{origin}\n{writer_id}\n{epoch}".encode()).hexdigest()


def entry_hash(header: bytes) -> str:
    """Hex hash of one entry; ``prev_hash`` inside the header makes it a chain."""
    return hashlib.sha256(b"alog/entry/v1\n" + header).hexdigest()


def mac(key: bytes, header: bytes) -> str:
    """Hex HMAC-SHA256 of the entry under the key of its segment."""
    return hmac.digest(key, b"alog/mac/v1\n" + header, "sha256").hex()


def mac_is(key: bytes, header: bytes, claimed: str) -> bool:
    """Constant-time comparison of the MAC."""
    return hmac.compare_digest(mac(key, header), claimed)


def session_key(root: bytes, origin: str, writer_id: str, epoch: int) -> bytes:
    """Key of segment 0 of one epoch, derived from the root key by the broker."""
    return hmac.digest(root, f"alog/session/v1\n{origin}\n{writer_id}\n{epoch}".encode(), "sha256")


def evolve(key: bytes) -> bytes:
    """Key of the next segment. The old key cannot be computed from the new one."""
    return hmac.digest(key, b"alog/evolve/v1", "sha256")


def leaf(sealed_header: bytes) -> bytes:
    """Merkle leaf of one entry. Source: RFC 9162 2.1.1."""
    return hashlib.sha256(b"\x00" + sealed_header).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Inner node of the Merkle tree. Source: RFC 9162 2.1.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()
