"""Replacing a signing key: by a person, with a reason, as two rows of the record around the change."""

from __future__ import annotations

from pipeline_lib import signing
from pipeline_lib.keys import KeyFolder
from pipeline_lib.registry import persons, rows
from pipeline_lib.settings import Settings


def rotate(settings: Settings, purpose: str, operator: str, reason: str) -> tuple[str, str]:
    """Sign with a new key from now on; what the old one signed still verifies.

    Returns:
        ids of the old key and of the new one.

    Raises:
        RequestRefused: nobody or no reason is named.
        SecretMissing: this purpose's key cannot be replaced.
    """
    keys = KeyFolder(settings.place.keys)
    operator, reason = persons.named(operator, reason, settings.promotion.force)
    old = signing.replaceable(keys, purpose)
    _row(settings, "intent", purpose, old, {"old_key": old}, operator, reason)
    _, new = signing.rotate(keys, purpose)
    _row(settings, "done", purpose, old, {"old_key": old, "new_key": new}, operator, reason)
    return old, new


def _row(
    settings: Settings, phase: rows.Phase, purpose: str, old: str, details: dict[str, str], operator: str, reason: str
) -> None:
    rows.operation(
        settings,
        "key_rotate",
        f"key_rotate:{purpose}:{old}:{phase}",
        object_type="key",
        object_id=f"sign-{purpose}",
        reason=reason,
        actor=("human", operator),
        action_id=f"key-rotate-{purpose}-{old}",
        phase=phase,
        severity="major",
        details=details,
    )
