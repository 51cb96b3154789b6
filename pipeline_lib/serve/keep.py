"""What the function keeps for a day: answers that somebody may ask to have explained, and rewritten texts.

Losing it costs explanations of a day and nothing else. What is older than the policy's hours is gone. One item holds
one answer, or all rewritten texts about one customer, so that an opt-out empties them by one key.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pipeline_lib.items import TableUnreadable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline_lib.items import Items
    from pipeline_lib.serve.reasons import Reason

TABLE = "kept"
QUESTIONS = "r1"
"""Version of the questions a rewrite asks: another wording of them is another rewrite."""


class Keep:
    """Args: hours: how long an item answers [h]. Times are seconds since 1970. Methods raise TableUnreadable."""

    def __init__(self, items: Items, hours: int) -> None:
        self._items, self._seconds = items, hours * 3600

    def answer(self, prediction_id: str, now: float) -> dict[str, Any] | None:
        return self._get(f"answer/{prediction_id}", now) or None

    def put_answer(self, prediction_id: str, body: Mapping[str, Any], now: float) -> None:
        self._put(f"answer/{prediction_id}", body, now)

    def texts(self, subject: str, now: float) -> dict[str, Any]:
        """Key -> rewritten text with what wrote it, of one customer."""
        found = self._get(f"texts/{subject}", now)
        return {key: text for key, text in found.items() if text["stored_at"] > now - self._seconds}

    def put_text(self, subject: str, key: str, body: Mapping[str, Any], now: float) -> None:
        """Of two writers at once the last one wins: a text that is lost is written again."""
        self._put(f"texts/{subject}", {**self.texts(subject, now), key: {**body, "stored_at": now}}, now)

    def forget(self, subject: str, prediction_id: str | None, now: float) -> None:
        """Empty the customer's texts, and one answer: what they held is overwritten."""
        for key in [f"texts/{subject}"] + ([f"answer/{prediction_id}"] if prediction_id else []):
            if self._get(key, now):
                self._put(key, {}, now)

    def _get(self, key: str, now: float) -> dict[str, Any]:
        """Empty when there is none, or none any more."""
        found = self._items.get(TABLE, key)
        try:
            if found is None or float(found["stored_at"]) <= now - self._seconds:
                return {}
            body: dict[str, Any] = json.loads(found["body"])
        except (KeyError, ValueError, TypeError) as error:
            raise TableUnreadable(f"{TABLE}: {key.partition('/')[0]}: {type(error).__name__}") from None
        return body

    def _put(self, key: str, body: Mapping[str, Any], now: float) -> None:
        text = json.dumps(body, ensure_ascii=False)
        expires = now + self._seconds
        self._items.put(TABLE, {"key": key, "body": text, "stored_at": now, "expires_at": expires}, expires)


def text_key(subject: str, reason: Reason, version: str) -> str:
    """Identity of a rewrite: nothing else may be delivered for it. Source: serving.md 9.4."""
    of = reason.grounds
    template_version = reason.template_id.partition("/")[0]
    facts = sha256(json.dumps(reason.known, ensure_ascii=False).encode("utf-8")).hexdigest()
    parts = [subject, of.item_id, of.task, version, template_version, QUESTIONS, facts, reason.locale]
    return sha256(json.dumps(parts, ensure_ascii=False).encode("utf-8")).hexdigest()
