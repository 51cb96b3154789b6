"""Which keys the record knows, and in what state: pending, active, retired or revoked.

The registry is part of the record. Its events are rows named by their number, each in a chain of its own, so they
are found without a search and no number can be taken twice. An event counts only under the MAC key that was active
before it. The record begins with the key of the settings (``audit.key_id``), which needs no event.

    key_register  {n, purpose, key_id, public}           pending; public key (hex) of a signing key
    key_rotate    {n, purpose, key_id, from, mac_next}   active; ``from`` is retired. Under the old MAC key, and
                                                         ``mac_next`` shows that whoever wrote it holds the new one
    key_revoke    {n, purpose, key_id, trusted_through_ckpt}

Source: audit.md 4.8.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from pipeline_lib.audit import segment
from pipeline_lib.audit.anchors import Anchor
from pipeline_lib.audit.line import Line
from pipeline_lib.audit.log import once_chain
from pipeline_lib.audit.segment import micros, timestamp
from pipeline_lib.canonical import canonical_bytes, digest
from pipeline_lib.errors import AuditError, ObjectMissing
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects

SERVICE = "keys"
MAC, CHECKPOINT = "mac", "checkpoint"
REGISTER, ROTATE, REVOKE = "key_register", "key_rotate", "key_revoke"
State = Literal["pending", "active", "retired", "revoked"]


@dataclass(frozen=True)
class Key:
    """One key of the registry."""

    key_id: str
    purpose: str
    """``mac`` or ``checkpoint``."""
    state: State
    since: str | None = None
    """When it came into force; None: with the record, or never."""
    ends: str | None = None
    """A row under it that is later than this is not believed: a running process may finish until then."""
    trusted_through_ckpt: int | None = None
    """Of a revoked key: rows under this checkpoint keep their full value."""


@dataclass(frozen=True)
class Ring:
    """The registry after so many events."""

    keys: tuple[Key, ...]
    events: int = 0

    @classmethod
    def first(cls, key_id: str) -> Ring:
        """Of a record whose keys never changed."""
        return cls((Key(key_id, MAC, "active"),))

    @property
    def active(self) -> str:
        """Id of the MAC key for new chains."""
        return next(key.key_id for key in self.keys if (key.purpose, key.state) == (MAC, "active"))

    def find(self, key_id: str) -> Key | None:
        return next((key for key in self.keys if key.key_id == key_id), None)

    def pending(self, purpose: str) -> Key | None:
        """The key that was announced and is not in force yet."""
        return next((key for key in self.keys if (key.purpose, key.state) == (purpose, "pending")), None)

    def in_force(self, signer: str) -> dict[str, Any]:
        """What a checkpoint commits to; ``signer`` is the id of the key that signs it."""
        found = {"mac": self.active, "checkpoint": signer}
        return {**found, "registry": [asdict(key) for key in self.keys]} if self.events else found


def read(store: Objects, keys: KeyFolder, origin: str, first_key: str, grace_h: int) -> list[Ring]:
    """The registry before the first event and after each of them.

    Args:
        grace_h: how long a process may go on writing under a key that was retired [hours].

    Raises:
        AuditError: an event does not verify, or does not fit the state before it.
        SecretMissing: the key of an event is not there.
    """
    rings = [Ring.first(first_key)]
    while (row := _event(store, keys, origin, rings[-1])) is not None:
        try:
            rings.append(_after(rings[-1], row, grace_h))
        except (KeyError, TypeError) as error:
            raise AuditError(f"event {len(rings)} of the registry of keys has no {error}") from error
    return rings


def in_force(rings: Iterable[Ring], anchor: Anchor) -> dict[str, Any] | None:
    """The keys whose digest a checkpoint names; None when no state of the registry has it."""
    candidates = (ring.in_force(anchor.signers[-1]) for ring in rings)
    return next((found for found in candidates if digest(found) == anchor.checkpoint.keys), None)


def idem(number: int) -> str:
    """Name of the registry's event of that number, from 1."""
    return f"keys:{number:06}"


def mac_next(root: bytes, details: Mapping[str, Any]) -> str:
    """Shows possession of the new root key over what the event says."""
    said = {name: value for name, value in details.items() if name != "mac_next"}
    return hmac.digest(root, b"alog/rotate/v1\n" + canonical_bytes(said), "sha256").hex()


def why_not(ring: Ring, past: Sequence[Anchor], key_id: str, ts: str, ckpt_n: int | None) -> tuple[str, str] | None:
    """Why a row is not to be believed for its key alone: finding code and detail; None when it is.

    The first checkpoint after a key's end closes it: what shows up later is forged, whatever time it claims.

    Args:
        ckpt_n: the checkpoint that covered the row first; None: none yet.
    """
    key = ring.find(key_id)
    if key is None or key.purpose != MAC:
        return "MAC_INVALID", f"key {key_id} is not registered"
    if key.state == "pending":
        return "MAC_INVALID", f"key {key_id} is announced and not in force"
    if key.ends is None:
        return None
    closed = next((a.checkpoint.n for a in past if a.checkpoint.ts > (key.ends or "")), None)
    through = key.trusted_through_ckpt
    if through is not None and ckpt_n is not None and ckpt_n <= through:
        return None
    if ts > key.ends or (closed and (ckpt_n is None or ckpt_n > closed)):
        return "MAC_INVALID", f"key {key_id} is {key.state} and ended {key.ends}; the row is of {ts}, first seen later"
    if through is not None:
        return "MAC_UNTRUSTED", f"key {key_id} is revoked and trusted through checkpoint {through} only"
    return None


def _event(store: Objects, keys: KeyFolder, origin: str, before: Ring) -> Line | None:
    chain = once_chain(origin, SERVICE, idem(before.events + 1))
    try:
        data = store.get(chain.key_of(1))
    except ObjectMissing:
        return None
    if segment.key_id(data) != before.active:
        raise AuditError(f"{chain.key_of(1)}: a change of keys under {segment.key_id(data)}, not {before.active}")
    lines, _ = segment.check(chain, chain.start(keys.audit_root(before.active)), data)
    details = lines[0].payload_dict()["details"] or {}
    if len(lines) != 1 or details.get("n") != before.events + 1:
        raise AuditError(f"{chain.key_of(1)} is not event {before.events + 1} of the registry")
    if lines[0].event == ROTATE and details.get("purpose") == MAC:
        expected = mac_next(keys.audit_root(str(details.get("key_id"))), details)
        if not hmac.compare_digest(expected, str(details.get("mac_next"))):
            raise AuditError(f"{chain.key_of(1)}: whoever wrote it did not have key {details.get('key_id')}")
    return lines[0]


def _after(before: Ring, row: Line, grace_h: int) -> Ring:
    details = row.payload_dict()["details"]
    key_id, purpose = details["key_id"], details["purpose"]
    known = before.find(key_id)
    expected = {REGISTER: (None,), ROTATE: ("pending",), REVOKE: ("pending", "retired")}.get(row.event, ())
    if (known.state if known else None) not in expected:
        raise AuditError(f"event {before.events + 1}: {row.event} of key {key_id}, which is {known}")
    if row.event == REGISTER:
        return Ring((*before.keys, Key(key_id, purpose, "pending")), before.events + 1)
    if row.event == ROTATE:
        ends = timestamp(micros(row.ts) + grace_h * 3_600_000_000)
        turned = [
            replace(key, state="active", since=row.ts) if key.key_id == key_id
            else replace(key, state="retired", ends=ends) if (key.purpose, key.state) == (purpose, "active")
            else key
            for key in before.keys
        ]  # fmt: skip
        return Ring(tuple(turned), before.events + 1)
    through = details["trusted_through_ckpt"]
    revoked = [
        replace(key, state="revoked", ends=min(key.ends or row.ts, row.ts), trusted_through_ckpt=through)
        if key.key_id == key_id else key
        for key in before.keys
    ]  # fmt: skip
    return Ring(tuple(revoked), before.events + 1)
