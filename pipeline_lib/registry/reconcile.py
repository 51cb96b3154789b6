"""Does the registry agree with itself and with the record? Read-only; repairing is the release's work."""

from __future__ import annotations

from typing import Any

from pipeline_lib.errors import GateCannotJudge
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.registry import decisions, pointer, rows, states, versions
from pipeline_lib.registry.pointer import Pointer
from pipeline_lib.settings import Settings


def require_consistent(settings: Settings) -> dict[str, Any]:
    """Champion, its package, its decision, its row in the record and the state documents, all at once.

    Returns:
        what serves and by which decision.

    Raises:
        GateCannotJudge: REGISTRY_CORRUPT: no pointer though there was one, or documents that disagree with it.
        PromotionUnrecorded, AuditError: the record does not hold the decision that made it champion.
        ManifestMismatch, SignatureInvalid, ObjectMissing: the champion's package is not what was registered.
    """
    objects, keys = open_objects(settings.place.root), KeyFolder(settings.place.keys)
    seen = pointer.read(objects, keys)
    champions = states.listed(objects, "champion")
    if champions != ([] if seen.version is None else [seen.version]):
        raise GateCannotJudge("REGISTRY_CORRUPT", f"the pointer names {seen.version}, documents say {champions}")
    if seen.pointer is None or seen.version is None:
        return {"champion": None, "generation": seen.generation, "decision_id": None}
    package = versions.verify(objects, keys, seen.version)
    if package.sha256 != seen.pointer.manifest_sha256:
        raise GateCannotJudge(
            "REGISTRY_CORRUPT", f"{seen.version} hashes to {package.sha256}, pointer {seen.pointer.manifest_sha256}"
        )
    made_by = _made_by(objects, seen.version, seen.pointer)
    stored = decisions.get(objects, made_by)
    rows.require_recorded(settings, stored.decision, stored.receipt)
    return {"champion": seen.version, "generation": seen.generation, "decision_id": made_by}


def _made_by(objects: Objects, version: str, named: Pointer) -> str:
    """The decision that made this version champion; after a restored pointer it is an earlier one."""
    made = [s["decision_id"] for s in states.read(objects, version)["history"] if s["to"] == "champion"]
    if not made or (named.trigger != "restore" and made[-1] != named.decision_id):
        raise GateCannotJudge("REGISTRY_CORRUPT", f"the pointer names decision {named.decision_id}, document {made}")
    return str(made[-1])
