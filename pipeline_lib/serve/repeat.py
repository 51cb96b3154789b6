"""The same idempotency key again: the stored answer, as long as a new one would be decided on the same ground.

Whoever comes first claims the key and whoever comes meanwhile waits for that answer, so one key has one answer in the
record. Each time a stored answer is given again, the record says so before it leaves. Keys and requests are kept as
keyed digests only. Source: serving.md 11, ``idempotency_key``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from pipeline_lib.canonical import digest
from pipeline_lib.serve.decide import Known, overrides, whole_answer
from pipeline_lib.serve.policy import Policy
from pipeline_lib.serve.request import Refused, Request
from pipeline_lib.serve.tables import Stored, Tables

POLL_S, POLLS = 0.02, 40
"""How often, and how many times, somebody looks for the answer that is being made under the same key [s]."""
DEAD_S = 3.0
"""After so long a claim without an answer is of an instance that was ended [s]. Source: serving.md 3, timeout."""


@dataclass(frozen=True)
class Claim:
    """The right to answer under a key."""

    key: str
    asked: str
    ground: str
    hours: int

    def settle(self, tables: Tables, response: Mapping[str, Any] | None, now: float) -> None:
        """Store the answer; when there is none, or one without receipt, the key is free again.

        Raises:
            TableUnreadable: nobody else is answered under the key for ``DEAD_S``.
        """
        if response is None or response["receipt"] is None:
            tables.store_answer(self.key, Stored(self.asked, "", 0.0), self.hours)
            return
        text = json.dumps({"ground": self.ground, "answer": response}, ensure_ascii=False)
        tables.store_answer(self.key, Stored(self.asked, text, now), self.hours)


def ground(policy: Policy, request: Request, known: Known, today: date, hour: int) -> str:
    """Digest of what a decision stands on besides the feature row and the models' scores."""
    override = overrides(policy, known, today)
    profile = policy.profile(known.assessment, known.customer, today)
    rules = policy.suitability
    return digest(
        {
            "release": policy.models.bundle.manifest_sha256,
            "all_tasks": override.all_tasks,
            "tasks": {name: why for name, why in override.tasks.items() if name in policy.models.tasks},
            "whole": whole_answer(policy, request, known, hour),
            "tolerance": [rules.tolerance(profile, today), rules.stale(profile, today)],
            "careful": [rules.senior(profile), rules.low_income(profile)],
            "fairness": None if known.fairness is None else sorted(map(str, known.fairness)),
            "trouble": sorted(known.trouble),
        }
    )


def claim(
    tables: Tables, pepper: bytes, request: Request, body: Mapping[str, Any], ground: str, now: float, hours: int
) -> Claim | dict[str, Any]:
    """The stored answer, or the right to make it.

    Args:
        body: the request as it came. now: seconds since 1970. hours: how long an answer is given again [h].

    Raises:
        Refused: 409, the key was used with another body, or its first request is still being answered.
        TableUnreadable, ValueError, KeyError: what is stored cannot be read.
    """
    mine = Claim(
        "i_" + _keyed(pepper, "idempotency", request.idempotency_key or ""),
        _keyed(pepper, "request", digest(json.loads(json.dumps(body), parse_float=str))),
        ground, hours,
    )  # fmt: skip
    for _ in range(POLLS):
        found = tables.stored_answer(mine.key)
        if found is not None and found.stored_at > now - hours * 3600:
            if not hmac.compare_digest(found.asked, mine.asked):
                raise Refused(409, "IDEMPOTENCY_CONFLICT", "idempotency_key: used before with another body")
            if found.response and (same := _of_ground(found.response, ground)) is not None:
                return same
            if not found.response and now - found.stored_at < DEAD_S:
                time.sleep(POLL_S)
                continue
        if tables.claim_answer(mine.key, Stored(mine.asked, "", now), hours, found):
            return mine
    raise Refused(
        409, "IDEMPOTENCY_CONFLICT", "idempotency_key: its first request is still being answered", retryable=True
    )


def _of_ground(text: str, ground: str) -> dict[str, Any] | None:
    stored = json.loads(text)
    answer: dict[str, Any] | None = stored["answer"] if stored.get("ground") == ground else None
    return answer


def _keyed(pepper: bytes, what: str, text: str) -> str:
    return hmac.new(pepper, f"{what}|{text}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
