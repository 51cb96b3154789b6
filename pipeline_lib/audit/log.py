"""Writing the record: entries in, a receipt out, or an error. Standard library and ground floor only.

A process has a chain of its own (``writer_id``, ``epoch``); one ``append`` is one create-only object that holds
whole entries, so nothing is ever half written and nobody waits for anybody. The object is named for its first
sequence number: whoever else tries to continue the same chain is refused, whatever the length of its segment.
Python 3.11 has no zstd in its standard library, so segments are plain JSON lines. Source: audit.md 4.2, 4.5.

    seg/<writer_id>/<epoch:010>/<first_seq:012>.jsonl
"""

from __future__ import annotations

import base64
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from math import inf
from typing import Any

from pipeline_lib.audit import catalogue, segment
from pipeline_lib.audit.line import Line
from pipeline_lib.audit.segment import ONCE, Chain, Entry, Head
from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.errors import AppendFailed, AuditError, ObjectExists, ObjectMissing, PlaceTaken, StoreError
from pipeline_lib.keys import Keys
from pipeline_lib.objects import Objects
from pipeline_lib.records import Receipt

__all__ = ["Entry", "Writer", "append_once", "once_chain"]
log = logging.getLogger(__name__)

MAX_CLOCK_OFFSET_MS = 500
"""Beyond this the host's clock is suspect. Source: audit.md 4.2."""
_ATTEMPTS = 2
_SERVICE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


def _system_us() -> int:
    return time.time_ns() // 1000


class Writer:
    """One process's own chain. Safe between threads; a forked child or a second process must open its own.

    After an append whose outcome is unknown the chain is stopped and every later append fails. Open a new writer;
    the verifier accepts both outcomes of the append that failed.
    """

    def __init__(
        self, store: Objects, identity: Chain, head: Head, key_id: str, clock: str, now_us: Callable[[], int]
    ) -> None:
        self._store, self._chain, self._head = store, identity, head
        self._key_id, self._clock, self._now_us = key_id, clock, now_us
        self._lock = threading.Lock()
        self._stopped = ""

    @classmethod
    def open(
        cls,
        store: Objects,
        keys: Keys,
        *,
        origin: str,
        key_id: str,
        service: str,
        code_rev: str | None = None,
        config_hash: str | None = None,
        clock_offset_ms: int | None = None,
        now_us: Callable[[], int] = _system_us,
        until: float = inf,
    ) -> Writer:
        """A new chain under a new random instance token; its first entry, ``writer_open``, is durable on return.

        Args:
            clock_offset_ms: measured offset of the host's clock to its time source; unknown marks it suspect.
            until: as of ``append``, for the first entry.

        Raises:
            AppendFailed: the store did not take the first entry, or the service's name is not a name.
            SecretMissing: no root key of that id.
        """
        identity = Chain(origin, f"{_named(service)}:{secrets.token_hex(8)}", 1)
        known = clock_offset_ms is not None and abs(clock_offset_ms) <= MAX_CLOCK_OFFSET_MS
        head = identity.start(keys.audit_root(key_id))
        writer = cls(store, identity, head, key_id, "ok" if known else "suspect", now_us)
        details = {"clock_offset_ms": clock_offset_ms}
        writer.append([_lifecycle("writer_open", identity, details, code_rev, config_hash)], until)
        return writer

    def append(self, entries: Sequence[Entry], until: float = inf) -> Receipt:
        """Record all entries in one durable object, or none.

        Args:
            until: by ``time.monotonic``, after which nothing is tried again, nor begun [s].

        Raises:
            AppendFailed: an entry is not admissible (the chain goes on), or the object is not known to be durable
                or its place is taken (PlaceTaken); then the chain is stopped.
        """
        with self._lock:
            if self._stopped:
                raise AppendFailed(f"{self._chain.writer_id} was stopped: {self._stopped}")
            if time.monotonic() >= until:
                raise AppendFailed(f"{self._chain.writer_id}: no time is left")
            first = self._head.seq + 1
            data, head = _built(self._chain, self._head, entries, self._key_id, self._now_us(), self._clock)
            try:
                _create(self._store, self._chain.key_of(first), data, until)
            except ObjectExists as error:
                self._stopped = f"EPOCH_CONFLICT: {error}"
                raise PlaceTaken(self._stopped) from error
            except AppendFailed as error:
                self._stopped = str(error)
                raise
            self._head = head
        return Receipt(self._chain.origin, self._chain.writer_id, self._chain.epoch, first, head.seq, head.entry_hash)

    def close(self) -> Receipt:
        """Say that this chain ends here on purpose; later appends fail."""
        receipt = self.append([_lifecycle("writer_close", self._chain, {}, None, None)])
        self._stopped = "it was closed"
        return receipt


def append_once(
    store: Objects,
    keys: Keys,
    *,
    origin: str,
    key_id: str,
    service: str,
    entries: Sequence[Entry],
    now_us: Callable[[], int] = _system_us,
) -> Receipt:
    """Record ``entries`` exactly once per ``entries[0].idem``, whoever asks and how often.

    The idem names a chain that has room for one segment only, so the create-only object is the lock.

    Returns:
        The receipt; for a repeat with the same entries (salt and time aside) the receipt of the first time.

    Raises:
        AppendFailed: not durable, not admissible, or other entries are recorded under this idem.
    """
    if not entries:
        raise AppendFailed("nothing to record")
    identity = once_chain(origin, service, entries[0].idem)
    head, key = identity.start(keys.audit_root(key_id)), identity.key_of(1)
    data, after = _built(identity, head, entries, key_id, now_us(), "suspect")
    found = _existing(store, key)
    if found is None:
        try:
            _create(store, key, data)
        except ObjectExists:
            found = _existing(store, key)
        else:
            return Receipt(origin, identity.writer_id, 1, 1, after.seq, after.entry_hash)
    receipt = _same_entries(identity, keys, found or b"", entries)
    # Writes nothing, but makes the name durable should the first one have died just before doing so.
    _create(store, key, found or b"")
    return receipt


def once_chain(origin: str, service: str, idem: str) -> Chain:
    """The chain that holds what is recorded once under ``idem``."""
    return Chain(origin, f"{ONCE}:{_named(service)}:{sha256(idem.encode()).hexdigest()[:32]}", 1)


def _built(
    identity: Chain, head: Head, entries: Sequence[Entry], key_id: str, now_us: int, clock: str
) -> tuple[bytes, Head]:
    salts = [_salt() for _ in entries]
    try:
        return segment.build(identity, head, entries, key_id=key_id, now_us=now_us, clock=clock, salts=salts)
    except (ValueError, TypeError) as error:
        raise AppendFailed(f"not admissible: {error}") from error


def _create(store: Objects, key: str, data: bytes, until: float = inf) -> None:
    """Durable, or AppendFailed; ObjectExists when other bytes are there. A lost answer is asked for once more."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return store.create(key, data)
        except ObjectExists:
            raise
        except (StoreError, OSError) as error:
            log.warning("append of %s failed, attempt %d of %d: %s", key, attempt, _ATTEMPTS, error)
            if attempt == _ATTEMPTS or time.monotonic() >= until:
                raise AppendFailed(f"{key} is not known to be durable: {error}") from error


def _existing(store: Objects, key: str) -> bytes | None:
    try:
        return store.get(key)
    except ObjectMissing:
        return None
    except (StoreError, OSError) as error:
        raise AppendFailed(f"{key} cannot be read: {error}") from error


def _same_entries(identity: Chain, keys: Keys, data: bytes, entries: Sequence[Entry]) -> Receipt:
    """Receipt of what is stored under the idem, if it is sound and says the same."""
    try:
        head = identity.start(keys.audit_root(segment.key_id(data)))
        lines, after = segment.check(identity, head, data)
    except AuditError as error:
        raise AppendFailed(f"what is recorded under {entries[0].idem!r} does not verify: {error}") from error
    if [_as_entry(found) for found in lines] != [_comparable(entry) for entry in entries]:
        raise AppendFailed(f"{identity.writer_id}: idem {entries[0].idem!r} is recorded with other entries")
    return Receipt(identity.origin, identity.writer_id, 1, 1, after.seq, after.entry_hash)


def _as_entry(found: Line) -> bytes:
    payload = found.payload_dict()
    del payload[catalogue.SALT]
    entry = Entry(found.log_table, found.event, payload, found.idem, found.request_id, found.prediction_id)
    return _comparable(entry)


def _comparable(entry: Entry) -> bytes:
    head = [entry.log_table, entry.event, entry.idem, entry.request_id, entry.prediction_id]
    return canonical_bytes([*head, entry.payload])


def _lifecycle(
    event: str, identity: Chain, details: Mapping[str, Any], code_rev: str | None, config_hash: str | None
) -> Entry:
    service = identity.writer_id.split(":")[0]
    known = {
        "actor_kind": "service",
        "actor_ref": service,
        "phase": "single",
        "object_type": "writer",
        "object_id": identity.writer_id,
        "severity": "info",
        "details": dict(details),
        "code_rev": code_rev,
        "config_hash": config_hash,
    }
    payload = catalogue.complete("log_operation", known)
    return Entry("log_operation", event, payload, f"{event}:{identity.writer_id}:{identity.epoch}")


def _named(service: str) -> str:
    if not _SERVICE.fullmatch(service) or service == ONCE:
        raise AppendFailed(f"a service is named like 'gate' or 'serve', found {service!r}")
    return service


def _salt() -> str:
    """16 random bytes, so that equal payloads have unequal hashes. Source: audit.md C11."""
    return base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode()
