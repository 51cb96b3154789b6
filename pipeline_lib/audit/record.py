"""Where this environment's record is, and how one process writes to it. ``session`` is what the stages use."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline_lib.audit import keyring, log
from pipeline_lib.audit.retained import Retained
from pipeline_lib.audit.segment import Entry
from pipeline_lib.audit.sinks import Both
from pipeline_lib.errors import AppendFailed, StoreError
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.records import Receipt
from pipeline_lib.runs import code_version
from pipeline_lib.settings import Settings


def origin(settings: Settings) -> str:
    """Identity of this environment's record."""
    return f"{settings.audit.origin}/{settings.place.env}"


def store(settings: Settings) -> Objects:
    """Where the evidence lies; with what the serving function wrote to the second store meanwhile."""
    return opened(settings.place.audit, settings.place.audit_secondary)


def opened(first: str, second: str | None) -> Objects:
    """The evidence of one store, or of two as one."""
    return Retained(Both(open_objects(first), open_objects(second)) if second else open_objects(first))


def rings(settings: Settings) -> list[keyring.Ring]:
    """States of the registry of keys, the newest last. Raises AuditError or SecretMissing."""
    folder, policy = KeyFolder(settings.place.keys), settings.audit
    return keyring.read(store(settings), folder, origin(settings), policy.key_id, policy.key_grace_hours)


def ring(settings: Settings) -> keyring.Ring:
    """The registry of keys as it is now. Raises as ``rings``."""
    return rings(settings)[-1]


def active_key(settings: Settings) -> str:
    """Id of the root MAC key for what is written now.

    Raises:
        AppendFailed: the store does not say; AuditError, SecretMissing: as ``rings``.
    """
    try:
        return ring(settings).active
    except (StoreError, OSError) as error:
        raise AppendFailed(f"the registry of keys cannot be read: {error}") from error


def writer(settings: Settings, service: str) -> log.Writer:
    """A new chain for this process. Raises AppendFailed or SecretMissing."""
    return log.Writer.open(
        store(settings),
        KeyFolder(settings.place.keys),
        origin=origin(settings),
        key_id=active_key(settings),
        service=service,
        code_rev=code_version(),
        config_hash=settings.config_hash,
    )


def record_once(settings: Settings, service: str, entries: Sequence[Entry]) -> Receipt:
    """Record entries exactly once per idem of the first; see ``log.append_once``."""
    return log.append_once(
        store(settings),
        KeyFolder(settings.place.keys),
        origin=origin(settings),
        key_id=active_key(settings),
        service=service,
        entries=entries,
    )
