"""What a person types to force a version, and every reason to refuse it: recorded as refused, nothing changed.

Never skipped: existence, signature, hashes, smoke test, quarantine, record. Source: promotion.md section 8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from pipeline_lib.errors import (
    ActivationFailed,
    ManifestMismatch,
    ObjectMissing,
    PipelineError,
    RequestRefused,
    SignatureInvalid,
)
from pipeline_lib.keys import KeyFolder
from pipeline_lib.objects import Objects
from pipeline_lib.registry import decisions, persons, rows, states, versions
from pipeline_lib.registry.package import Package
from pipeline_lib.registry.smoke import Probe
from pipeline_lib.scrub import scrub, scrub_ticket
from pipeline_lib.settings import Settings
from pipeline_lib.settings.promotion import Force

CANNOT_SERVE: dict[type[PipelineError], str] = {
    ObjectMissing: "a file is missing; without manifest.sig it is unsigned",
    ManifestMismatch: "it is corrupted",
    SignatureInvalid: "its signature is not ours",
    ActivationFailed: "it does not answer",
}
NAME = re.compile(r"v[0-9]{8}-[0-9a-f]{8}")
SHOWN = 5
"""Versions named to somebody who asked for one that does not exist."""


@dataclass(frozen=True)
class Request:
    version: str
    operator: str
    reason: str
    request_id: str
    approver: str | None = None
    approver_signed_in: bool = False
    """Whether the approver answered under a login, or was only named by the operator."""
    ticket: str | None = None
    allow_quarantined: bool = False
    rollback_of: str | None = None

    @classmethod
    def typed(
        cls,
        version: str,
        operator: str,
        reason: str,
        request_id: str,
        *,
        approver: str | None = None,
        approver_signed_in: bool = False,
        ticket: str | None = None,
        allow_quarantined: bool = False,
        rollback_of: str | None = None,
    ) -> Request:
        """As typed, without what could name a customer: it reaches the record forever."""
        return cls(
            version=_version(version),
            operator=operator.strip(),
            reason=scrub(reason),
            request_id=request_id,
            approver=approver,
            approver_signed_in=approver_signed_in,
            ticket=scrub_ticket(ticket) if ticket else None,
            allow_quarantined=allow_quarantined,
            rollback_of=rollback_of,
        )

    @property
    def decision_id(self) -> str:
        return decisions.decision_id("force", self.request_id)


def _version(typed: str) -> str:
    """A version's name as typed; of anything else only its length: it could name a customer."""
    typed = typed.strip()
    return typed if not typed or NAME.fullmatch(typed) else f"malformed ({len(typed)} characters)"


@contextmanager
def refusals_recorded(settings: Settings, request: Request, principal: str | None = None) -> Iterator[None]:
    """A refusal inside leaves its row in the record and goes on up."""
    try:
        yield
    except RequestRefused as refusal:
        _record(settings, request, principal, str(refusal))
        raise


def require_typed(request: Request, principal: str | None, policy: Force, unknown: Sequence[str] = ()) -> None:
    """Persons and reason, before anything is looked up; returns nothing, raises RequestRefused.

    Args:
        principal: authenticated identity, when the caller has one; must be the operator.
        unknown: keys of the request that mean nothing.
    """
    if unknown:
        raise RequestRefused(f"unknown keys in the request: {', '.join(unknown)}")
    if not request.operator:
        raise RequestRefused("a force-promote needs an operator")
    if not request.request_id:
        raise RequestRefused("a force-promote needs a request id")
    if principal is not None and principal != request.operator:
        raise RequestRefused(f"operator {request.operator!r} is not the authenticated {principal!r}")
    approver = request.approver
    if approver is not None and (not approver.strip() or persons.same(approver, request.operator)):
        raise RequestRefused(f"the approver is a second person, found {request.approver!r}")
    persons.require_reason(request.reason, policy)


def require_servable(request: Request, objects: Objects, keys: KeyFolder, smoke: Probe) -> Package:
    """Exists, complete, not quarantined (or overridden by two), signed, hashed, and answers.

    Raises:
        RequestRefused: the version may not serve, whoever asks.
    """
    if request.version not in (known := states.listed(objects)):
        some = ", ".join(known[-SHOWN:]) or "none"
        raise RequestRefused(
            f"no version named {request.version} is registered; some that are: {some}; "
            "`pipeline promote status` lists all"
        )
    document = states.read(objects, request.version)
    if document["state"] == "incomplete":
        raise RequestRefused(f"{request.version} is incomplete: it lacks a task or a file and may never serve")
    if document["state"] == "quarantined" and not (request.allow_quarantined and request.approver):
        mark = document["quarantine"] or {"by": "unknown", "reason": "unknown"}
        raise RequestRefused(
            f"{request.version} is quarantined by {mark['by']} ({mark['reason']}): "
            "needs the explicit override and two persons"
        )
    try:
        with versions.opened(objects, keys, request.version) as copy:
            if copy.package.state != "complete":  # as it was signed, whatever the document says
                raise RequestRefused(f"{request.version} is incomplete: its signed manifest says {copy.package.state}")
            smoke(copy)
    except RequestRefused:
        raise
    except PipelineError as error:
        why = next((text for kind, text in CANNOT_SERVE.items() if isinstance(error, kind)), "it cannot be used")
        raise RequestRefused(f"{request.version} cannot serve: {why}: {type(error).__name__}: {error}") from error
    return copy.package


def _record(settings: Settings, request: Request, principal: str | None, why: str) -> None:
    """Under the name of who was signed in, else of who was named; what was typed as operator is in the details."""
    rows.operation(
        settings,
        "force_promote_refused",
        f"force_promote_refused:{request.decision_id}",
        object_type="version",
        object_id=request.version or "none",
        reason=why,
        action_id=request.decision_id,
        actor=("human", principal or request.operator or "unknown"),
        severity="minor",
        details=asdict(request),
    )
