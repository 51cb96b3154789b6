"""Changing the record's keys: by a person, with a reason, as rows of the record around the change.

A change has two rows: ``key_register`` says what will happen, ``key_rotate`` that it did. What a crash left between
them is finished by asking again. Source: audit.md 4.8.
"""

from __future__ import annotations

import secrets
from typing import Any

from pipeline_lib import signing
from pipeline_lib.audit import anchors, catalogue, checkpoint, keyring, note, record
from pipeline_lib.audit.keyring import CHECKPOINT, MAC, REGISTER, REVOKE, ROTATE, Key, Ring
from pipeline_lib.audit.operation import Phase
from pipeline_lib.audit.segment import Entry
from pipeline_lib.business_time import utc_now
from pipeline_lib.errors import RequestRefused, SecretMissing
from pipeline_lib.keys import KEY_BYTES, KeyFolder
from pipeline_lib.objects import open_objects
from pipeline_lib.runs import code_version
from pipeline_lib.settings import Settings


def rotate_mac(settings: Settings, operator: str, reason: str, key_id: str | None = None) -> tuple[str, str]:
    """Write new chains under a new root key; a checkpoint covers the change before this returns.

    Args:
        key_id: ``k-YYYYMM-NN``; the next free one of this month when None. Its key is made here unless the key
            folder holds it already.

    Returns:
        ids of the old key and of the new one.

    Raises:
        RequestRefused: the id is taken, or another change waits to be finished.
        AuditError, SecretMissing: the registry does not verify, or the new key is no key or not a new one.
    """
    ring, keys = record.ring(settings), KeyFolder(settings.place.keys)
    waiting = ring.pending(MAC)
    new = key_id or (waiting.key_id if waiting else _free_id(ring))
    if waiting and new != waiting.key_id:
        raise RequestRefused(f"the change to {waiting.key_id} is not finished: ask for it again, or revoke it")
    if not waiting and ring.find(new):
        raise RequestRefused(f"key {new} was used before: a key's name is given once")
    keys.write_once(f"audit-{new}.key", secrets.token_bytes(KEY_BYTES), 0o600)
    _new_bytes(keys, ring, new)
    if not waiting:
        ring = _written(settings, ring, REGISTER, MAC, new, "intent", operator, reason, {})
    old = ring.active
    _written(settings, ring, ROTATE, MAC, new, "done", operator, reason, {"from": old})
    checkpoint.seal(settings)
    return old, new


def rotate_checkpoint(settings: Settings, operator: str, reason: str) -> tuple[str, str]:
    """Sign checkpoints with a new key, after one that is signed by both.

    Returns:
        ids of the old key and of the new one.

    Raises:
        AuditError, SecretMissing: the registry or the checkpoints do not verify; no key to replace.
    """
    ring, keys = record.ring(settings), KeyFolder(settings.place.keys)
    waiting = ring.pending(CHECKPOINT)
    if waiting is None:
        new, public = signing.prepare_next(keys, note.PURPOSE)
        details = {"public": signing.raw_public(public).hex()}
        ring = _written(settings, ring, REGISTER, CHECKPOINT, new, "intent", operator, reason, details)
    else:
        new = waiting.key_id
    checkpoint.seal(settings)
    both = _handed_over(settings, keys, new)
    _written(settings, ring, ROTATE, CHECKPOINT, new, "done", operator, reason, {"from": both.signers[0]})
    checkpoint.seal(settings)
    return both.signers[0], new


def revoke(settings: Settings, key_id: str, trusted_through_ckpt: int, operator: str, reason: str) -> Key:
    """Say that a MAC key is not to be believed after a checkpoint: rows under it that came later are untrusted.

    Raises:
        RequestRefused: no MAC key of that id, the active one (rotate first), or no such checkpoint.
    """
    ring, keys = record.ring(settings), KeyFolder(settings.place.keys)
    key = ring.find(key_id)
    if key is None or key.purpose != MAC:
        raise RequestRefused(f"no MAC key {key_id!r}; known: {', '.join(k.key_id for k in ring.keys)}")
    if key.state not in ("retired", "pending"):
        raise RequestRefused(f"key {key_id} is {key.state}: only a retired key is revoked; rotate first")
    past = anchors.history(open_objects(settings.place.anchors), keys, record.origin(settings))
    if not 0 <= trusted_through_ckpt <= len(past):
        raise RequestRefused(f"there is no checkpoint {trusted_through_ckpt}; the newest is {len(past)}")
    phase: Phase = "failed" if key.state == "pending" else "single"
    details = {"trusted_through_ckpt": trusted_through_ckpt}
    after = _written(settings, ring, REVOKE, MAC, key_id, phase, operator, reason, details)
    checkpoint.seal(settings)
    return after.find(key_id) or key


def _written(
    settings: Settings, ring: Ring, event: str, purpose: str, key_id: str, phase: Phase, operator: str, reason: str,
    more: dict[str, Any],
) -> Ring:  # fmt: skip
    """Record the registry's next event; the registry after it."""
    details = {"n": ring.events + 1, "purpose": purpose, "key_id": key_id, **more}
    if event == ROTATE and purpose == MAC:
        root = KeyFolder(settings.place.keys).audit_root(key_id)
        details["mac_next"] = keyring.mac_next(root, details)
    known = {
        "actor_kind": "human",
        "actor_ref": operator,
        "action_id": f"key:{key_id}" if phase != "single" else f"{event}:{key_id}",
        "phase": phase,
        "object_type": "key",
        "object_id": key_id,
        "severity": "major",
        "reason": reason,
        "details": details,
        "code_rev": code_version(),
        "config_hash": settings.config_hash,
    }
    entry = Entry("log_operation", event, catalogue.complete("log_operation", known), keyring.idem(ring.events + 1))
    record.record_once(settings, keyring.SERVICE, [entry])
    return record.ring(settings)


def _new_bytes(keys: KeyFolder, ring: Ring, new: str) -> None:
    fresh = keys.audit_root(new)
    for key in ring.keys:
        if key.purpose == MAC and key.key_id != new and keys.audit_root(key.key_id) == fresh:
            raise SecretMissing(f"{keys.where(f'audit-{new}.key')} holds the bytes of key {key.key_id}")


def _handed_over(settings: Settings, keys: KeyFolder, new: str) -> anchors.Anchor:
    past = anchors.history(open_objects(settings.place.anchors), keys, record.origin(settings))
    found = [anchor for anchor in past if len(anchor.signers) > 1 and anchor.signers[-1] == new]
    if not found:
        raise RequestRefused(f"no checkpoint was signed by the old key and {new}")
    return found[-1]


def _free_id(ring: Ring) -> str:
    month = f"k-{utc_now():%Y%m}"
    return next(name for n in range(1, 100) if ring.find(name := f"{month}-{n:02}") is None)
