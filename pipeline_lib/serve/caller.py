"""Who asks, as the gateway's authorizer says: 401 without an identity, 403 beyond its rights.

``SERVE_AUTHORIZER=jwt`` says that the gateway puts verified claims into every event (payload format 2.0,
``requestContext.authorizer.jwt.claims``). Then a request without a subject is refused, so that a route which lost
its authorizer does not answer strangers. Where the variable is not set, as in local mode, nobody is asked who they
are and the gateway alone decides; any other value stops the start. The token itself is verified by the gateway, never
here. Two claims narrow what a caller may do, each only where it is there; one that is no text allows nothing:

    channels       names separated by spaces: which channels the caller may ask for
    operator_id    the caller is this operator, and may name no other

A request that names no operator is recorded as that of the claim ``operator_id``, else of the subject, so that no
entry of the record is of nobody.

Source: serving.md 3, step 1, and 12.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from pipeline_lib.serve.request import Refused

JWT = "jwt"


def check(event: Mapping[str, Any], body: Mapping[str, Any], authorizer: str | None) -> str | None:
    """Who asks, to be recorded where the body names nobody; with no authorizer None.

    Raises:
        Refused: 401 or 403; with no authorizer never.
    """
    if authorizer != JWT:
        return None
    claims = _claims(event)
    subject, channels, own = claims.get("sub"), claims.get("channels"), claims.get("operator_id")
    if not isinstance(subject, str) or not subject:
        raise Refused(401, "UNAUTHENTICATED", "the gateway named no caller")
    if channels is not None and body.get("channel") not in (None, *_names(channels)):
        raise Refused(403, "FORBIDDEN", "channel: not one of the caller's")
    if own is not None and (not isinstance(own, str) or body.get("operator_id") not in (None, own)):
        raise Refused(403, "FORBIDDEN", "operator_id: not the caller's own")
    return own or _of_subject(subject)


def channels(event: Mapping[str, Any], authorizer: str | None) -> tuple[str, ...] | None:
    """The channels the caller may see; None: all."""
    found = _claims(event).get("channels") if authorizer == JWT else None
    return None if found is None else tuple(_names(found))


def named(body: Mapping[str, Any], who: str | None) -> Mapping[str, Any]:
    """The body with the operator that it left out."""
    return body if who is None or body.get("operator_id") is not None else {**body, "operator_id": who}


def _of_subject(subject: str) -> str:
    """A subject as an operator's id: in a namespace of its own, printable and at most 64 characters."""
    return f"sub:{sha256(subject.encode('utf-8', 'surrogatepass')).hexdigest()[:60]}"


def _names(channels: Any) -> list[str]:
    return channels.split() if isinstance(channels, str) else []


def _claims(event: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = event
    for name in ("requestContext", "authorizer", JWT, "claims"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}
