"""The pointer: the only truth about which version serves. One signed object, changed by compare-and-swap.

``swap`` is the door. It takes a decision *and* its receipt, reads the row back from the record, verifies the
package, and only then writes. ``restore`` goes back after a failed activation and wants that failure's receipt;
``rebuild`` names again what the record names and wants the receipt of that repair. Nothing else in the project
writes this object; a test reads the source for it.

A copy of every pointer is kept under its generation, so that an older one put back in its place is found.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
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
PAST = "registry/pointer/past"
SCHEMA_VERSION = 1
RESTORED, REPAIRED = "restore", "repair"
"""Triggers of pointers that no verdict made: after a failed activation, after a repair."""
REPAIR = "`pipeline registry repair-pointer --operator <you> --reason <why>` rebuilds it from the record"


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
    newest = newest_past(objects)  # before the pointer: a swap in between only makes it newer
    try:
        data, tag = objects.get_tagged(KEY)
    except ObjectMissing:
        if newest:
            raise _corrupt(f"{KEY} is missing but there were {newest} generations; {REPAIR}") from None
        if history := _history(objects, pending):
            raise _corrupt(f"{KEY} is missing but {history}") from None
        return Seen(None, None)
    found = _opened(keys, data)
    if found.generation < newest:
        raise _corrupt(
            f"{KEY} is of generation {found.generation} ({found.version}), found a later one, {newest}: an older "
            f"pointer was put back; {REPAIR}"
        )
    return Seen(found, tag)


def keep(objects: Objects, seen: Seen) -> None:
    """Keep the copy of a pointer whose writer died before it could; safe to repeat."""
    if seen.pointer is None:
        return
    data, tag = objects.get_tagged(KEY)
    if tag == seen.tag:
        objects.create(_past(seen.generation), data)


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
    decisions.require_open(objects, decision.decision_id)
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
    decisions.require_open(objects, decision.decision_id)  # again: it may have been voided while we verified
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
        trigger=RESTORED,
        activated_at=now.isoformat(),
    )
    _write(objects, keys, restored, expected_tag)
    return restored


def rebuild(settings: Settings, objects: Objects, repair: Receipt, expected_tag: str | None, now: datetime) -> Pointer:
    """Write the pointer that a recorded repair names, in place of one that is lost or not ours.

    Args:
        repair: receipt of the ``pointer_swapped`` row with phase ``intent``; its details are the pointer.
        expected_tag: tag of the bytes that are there now; None when there are none.

    Raises:
        PromotionUnrecorded: the receipt is of something else.
        SwapLost: somebody wrote in between.
    """
    row = session.confirm(settings, repair)[0]
    about = (row.header["event"], row.payload.get("phase"))
    if about != (rows.REPAIR, "intent"):
        raise PromotionUnrecorded(f"the receipt is of {about}, not of a repair of {KEY}")
    named = row.payload["details"]["pointer"]
    pointer = Pointer(**named, trigger=REPAIRED, activated_at=now.isoformat())
    _write(objects, KeyFolder(settings.place.keys), pointer, expected_tag)
    return pointer


def _expected(objects: Objects, keys: KeyFolder, tag: str | None, pending: Collection[str]) -> Seen:
    seen = read(objects, keys, pending)
    if seen.tag != tag:
        raise SwapLost(f"{KEY}: expected {tag}, found {seen.tag} (generation {seen.generation})")
    return seen


def _write(objects: Objects, keys: KeyFolder, pointer: Pointer, expected_tag: str | None) -> None:
    body = asdict(pointer)
    sealed = _sealed(body, signing.key_id(keys, PURPOSE), signing.sign(keys, PURPOSE, canonical_bytes(body)))
    objects.swap(KEY, sealed, expected_tag)
    objects.create(_past(pointer.generation), sealed)


def _sealed(body: Mapping[str, Any], signed_by: str, signature: bytes) -> bytes:
    return canonical_bytes({"pointer": body, "key_id": signed_by, "signature": signature.hex()})


def _opened(keys: KeyFolder, data: bytes) -> Pointer:
    try:
        sealed: dict[str, Any] = json.loads(data)
        signature, signed_by = bytes.fromhex(sealed["signature"]), str(sealed["key_id"])
        signing.verify(keys, PURPOSE, canonical_bytes(sealed["pointer"]), signature, signed_by)
        if _sealed(sealed["pointer"], signed_by, signature) != data:  # no second spelling of the same pointer
            raise SignatureInvalid("it is not as it was written")
        return Pointer(**sealed["pointer"])
    except (ValueError, KeyError, TypeError, SignatureInvalid) as error:
        raise _corrupt(f"{KEY} is not a pointer of ours: {type(error).__name__} {error}; {REPAIR}") from error


def _corrupt(why: str) -> GateCannotJudge:
    return GateCannotJudge("REGISTRY_CORRUPT", why)


def _past(generation: int) -> str:
    return f"{PAST}/{generation:08}.json"


def newest_past(objects: Objects) -> int:
    """The highest generation of which a copy is kept; 0 when there is none."""
    names = (key.rsplit("/", 1)[1].removesuffix(".json") for key in objects.list(PAST))
    return max((int(name) for name in names if name.isdigit()), default=0)


def _history(objects: Objects, pending: Collection[str]) -> str | None:
    """Evidence that there was a champion, in words."""
    served = [
        v for v in states.listed(objects) if any(s["to"] == "champion" for s in states.read(objects, v)["history"])
    ]
    if served:
        return f"{', '.join(served)} served before; {REPAIR}"
    begun = [decision_id for decision_id in decisions.effects(objects) if decision_id not in pending]
    return f"decisions {', '.join(begun)} moved it or were about to; reconcile first" if begun else None
