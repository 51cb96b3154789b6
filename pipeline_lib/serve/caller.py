"""Who asks, as the gateway's authorizer says: 401 without an identity, 403 beyond its rights.

``SERVE_AUTHORIZER=jwt`` says that the gateway puts verified claims into every event (payload format 2.0,
``requestContext.authorizer.jwt.claims``). Then a request without a subject is refused, so that a route which lost
its authorizer does not answer strangers. Where the variable is not set, as in local mode, nobody is asked who they
are and the gateway alone decides. The token itself is verified by the gateway, never here. Two claims narrow what a
caller may do, each only where it is there:

    channels       names separated by spaces: which channels the caller may ask for
    operator_id    the caller is this operator, and may name no other

Source: serving.md 3, step 1, and 12.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline_lib.serve.request import Refused

JWT = "jwt"


def check(event: Mapping[str, Any], body: Mapping[str, Any], authorizer: str | None) -> None:
    """Raises Refused 401 or 403; with no authorizer never."""
    if authorizer != JWT:
        return
    claims = _claims(event)
    if not isinstance(claims.get("sub"), str) or not claims["sub"]:
        raise Refused(401, "UNAUTHENTICATED", "the gateway named no caller")
    channels = claims.get("channels")
    if isinstance(channels, str) and body.get("channel") not in (None, *channels.split()):
        raise Refused(403, "FORBIDDEN", "channel: not one of the caller's")
    own = claims.get("operator_id")
    if own is not None and body.get("operator_id") not in (None, own):
        raise Refused(403, "FORBIDDEN", "operator_id: not the caller's own")


def _claims(event: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = event
    for name in ("requestContext", "authorizer", JWT, "claims"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}
