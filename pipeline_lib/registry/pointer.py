"""The pointer: the only truth about which version serves. One signed object, changed by compare-and-swap.

``swap`` is the door. It takes a decision *and* its receipt, reads the row back from the record, verifies the
package, and only then writes. ``restore`` goes back after a failed activation and wants that failure's receipt.
Nothing else in the project writes this object; a test reads the source for it.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from pipeline_lib import signing
from pipeline_lib.audit import session
from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.errors import GateCannotJudge, ObjectMissing, PromotionUnrecorded, SignatureInvalid, SwapLost
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects
from pipeline_lib.records import Decision, Receipt
from pipeline_lib.registry import decisions, rows, states, versions
from pipeline_lib.settings import Settings

KEY = "registry/pointer/champion.json"
PURPOSE = "pointer"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Pointer:
    generation: int
    """Plus one with every swap."""
    version: str | None
    """None: by decision nothing serves, after a first version that failed to activate."""
    manifest_sha256: str | None
    previous_version: str | None
    previous_sha256: str | None
    decision_id: str
    trigger: str
    activated_at: str
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class Seen:
    """What a strong read saw. ``tag`` is for ``swap``; both None: verified absent."""

    pointer: Pointer | None
    tag: str | None

    @property
    def version(self) -> str | None:
        return self.pointer.version if self.pointer else None

    @property
    def generation(self) -> int:
        return self.pointer.generation if self.pointer else 0


def read(objects: Objects, keys: KeyFolder, pending: Collection[str] = ()) -> Seen:
    """Strong read of the champion.

    Args:
        pending: decisions whose effect is being worked on; they are no evidence that there was a champion.

    Raises:
        GateCannotJudge: REGISTRY_CORRUPT: no pointer although there was one, or a pointer that was not written by us.
        StoreError: the store could not answer; that is never taken for "absent".
    """
    try:
        data, tag = objects.get_tagged(KEY)
    except ObjectMissing:
        if history := _history(objects, pending):
            raise GateCannotJudge("REGISTRY_CORRUPT", f"{KEY} is missing but {history}") from None
        return Seen(None, None)
    return Seen(_opened(keys, data), tag)


def swap(
    settings: Settings,
    objects: Objects,
    decision: Decision,
    receipt: Receipt,
    expected_tag: str | None,
    now: datetime,
) -> Pointer:
    """Make the decision's version champion. THE DOOR.

    Args:
        expected_tag: ``Seen.tag`` of the read this swap is based on.

    Raises:
        PromotionUnrecorded: the record does not hold this decision, or it was closed.
        AuditError: the record does not verify.
        ManifestMismatch, SignatureInvalid, ObjectMissing: the version is not the one that was judged.
        SwapLost: the pointer moved since ``expected_tag`` or, unless forced, since the decision.
    """
    keys = KeyFolder(settings.place.keys)
    rows.require_recorded(settings, decision, receipt)
    if end := decisions.closed(objects, decision.decision_id):
        raise PromotionUnrecorded(f"decision {decision.decision_id} was {end['outcome']}: {end['reason']}")
    package = versions.verify(objects, keys, decision.challenger_version)
    if package.sha256 != decision.body["manifest_sha256"]:
        raise PromotionUnrecorded(
            f"{package.version}: manifest {package.sha256}, judged {decision.body['manifest_sha256']}"
        )
    seen = _expected(objects, keys, expected_tag, (decision.decision_id,))
    if decision.decision != "force_promote" and seen.generation != decision.champion_generation:
        raise SwapLost(f"{KEY}: decided against generation {decision.champion_generation}, found {seen.generation}")
    now_serving = seen.pointer
    pointer = Pointer(
        generation=seen.generation + 1,
        version=package.version,
        manifest_sha256=package.sha256,
        previous_version=now_serving.version if now_serving else None,
        previous_sha256=now_serving.manifest_sha256 if now_serving else None,
        decision_id=decision.decision_id,
        trigger=decision.trigger,
        activated_at=now.isoformat(),
    )
    decisions.begin_effect(objects, decision.decision_id)
    _write(objects, keys, pointer, expected_tag)
    return pointer


def restore(settings: Settings, objects: Objects, failure: Receipt, expected_tag: str, now: datetime) -> Pointer:
    """Name the previous version again after a recorded failure to activate, under a new generation.

    Args:
        failure: receipt of the ``manifest_swap`` row with phase ``failed``.

    Raises:
        PromotionUnrecorded: the receipt is not of a failed swap of the version that the pointer names.
        SwapLost: the pointer moved.
    """
    keys = KeyFolder(settings.place.keys)
    seen = _expected(objects, keys, expected_tag, ())
    failed = session.confirm(settings, failure)[0]
    pointer = seen.pointer
    about = (failed.header["event"], failed.payload.get("phase"), (failed.payload["details"] or {}).get("decision_id"))
    if pointer is None or about != (rows.SWAP, "failed", pointer.decision_id):
        raise PromotionUnrecorded(f"the receipt is of {about}, not of a failure of {pointer}")
    restored = replace(
        pointer,
        generation=pointer.generation + 1,
        version=pointer.previous_version,
        manifest_sha256=pointer.previous_sha256,
        previous_version=pointer.version,
        previous_sha256=pointer.manifest_sha256,
        trigger="restore",
        activated_at=now.isoformat(),
    )
    _write(objects, keys, restored, expected_tag)
    return restored


def _expected(objects: Objects, keys: KeyFolder, tag: str | None, pending: Collection[str]) -> Seen:
    seen = read(objects, keys, pending)
    if seen.tag != tag:
        raise SwapLost(f"{KEY}: expected {tag}, found {seen.tag} (generation {seen.generation})")
    return seen


def _write(objects: Objects, keys: KeyFolder, pointer: Pointer, expected_tag: str | None) -> None:
    body = asdict(pointer)
    signature = signing.sign(keys, PURPOSE, canonical_bytes(body)).hex()
    sealed = {"pointer": body, "key_id": signing.key_id(keys, PURPOSE), "signature": signature}
    objects.swap(KEY, canonical_bytes(sealed), expected_tag)


def _opened(keys: KeyFolder, data: bytes) -> Pointer:
    try:
        sealed: dict[str, Any] = json.loads(data)
        signing.verify(keys, PURPOSE, canonical_bytes(sealed["pointer"]), bytes.fromhex(sealed["signature"]))
        return Pointer(**sealed["pointer"])
    except (ValueError, KeyError, TypeError, SignatureInvalid) as error:
        raise GateCannotJudge("REGISTRY_CORRUPT", f"{KEY} is not a pointer of ours: {error}") from error


def _history(objects: Objects, pending: Collection[str]) -> str | None:
    """Evidence that there was a champion, in words."""
    served = [
        v for v in states.listed(objects) if any(s["to"] == "champion" for s in states.read(objects, v)["history"])
    ]
    if served:
        return f"{', '.join(served)} served before"
    begun = [decision_id for decision_id in decisions.effects(objects) if decision_id not in pending]
    return f"decisions {', '.join(begun)} moved it or were about to; reconcile first" if begun else None
