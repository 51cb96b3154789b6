"""What the function keeps for a day: answers that somebody may ask to have explained, and rewritten texts.

A file of its own beside the tables: losing it costs explanations of a day, so it is written without waiting for the
disk, and nothing of oversight is in it. What is older than the policy's hours is gone. One entry holds one answer, or
all rewritten texts about one customer, so that an opt-out deletes them by one key.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_lib.serve.tables import TableUnreadable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline_lib.serve.reasons import Reason

FILE = "kept.sqlite"
QUESTIONS = "r1"
"""Version of the questions a rewrite asks: another wording of them is another rewrite."""
_TABLE = "CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, body TEXT NOT NULL, stored_at REAL NOT NULL)"
_INDEX = "CREATE INDEX IF NOT EXISTS kept_stored_at ON kept (stored_at)"


class Keep:
    """Args: folder: of the tables. hours: how long an entry answers [h]. Every method raises TableUnreadable."""

    def __init__(self, folder: Path, hours: int) -> None:
        self._path, self._seconds = folder / FILE, hours * 3600

    def answer(self, prediction_id: str, now: float) -> dict[str, Any] | None:
        return self._get(f"answer/{prediction_id}", now)

    def put_answer(self, prediction_id: str, body: Mapping[str, Any], now: float) -> None:
        self._put(f"answer/{prediction_id}", body, now)

    def texts(self, subject: str, now: float) -> dict[str, Any]:
        """Key -> rewritten text with what wrote it, of one customer."""
        found = self._get(f"texts/{subject}", now) or {}
        return {key: text for key, text in found.items() if text["stored_at"] > now - self._seconds}

    def put_text(self, subject: str, key: str, body: Mapping[str, Any], now: float) -> None:
        """Of two writers at once the last one wins: a text that is lost is written again."""
        self._put(f"texts/{subject}", {**self.texts(subject, now), key: {**body, "stored_at": now}}, now)

    def forget(self, subject: str, prediction_id: str | None = None) -> None:
        """Delete the customer's texts, and one answer."""
        keys = [f"texts/{subject}"] + ([f"answer/{prediction_id}"] if prediction_id else [])
        if self._path.is_file():
            self._run(*(("DELETE FROM kept WHERE key = ?", (key,)) for key in keys))

    def _get(self, key: str, now: float) -> dict[str, Any] | None:
        if not self._path.is_file():
            return None
        sql = "SELECT body FROM kept WHERE key = ? AND stored_at > ?"
        found = self._run((sql, (key, now - self._seconds)))
        try:
            return json.loads(found[0][0]) if found else None
        except (ValueError, TypeError) as error:
            raise TableUnreadable(f"{FILE}: {key.partition('/')[0]}: {error}") from error

    def _put(self, key: str, body: Mapping[str, Any], now: float) -> None:
        text = json.dumps(body, ensure_ascii=False)
        self._run(
            (_TABLE, ()),
            (_INDEX, ()),
            ("DELETE FROM kept WHERE stored_at <= ?", (now - self._seconds,)),
            ("INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", (key, text, now)),
        )

    def _run(self, *statements: tuple[str, tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """All statements in one transaction; the rows of the last."""
        rows: list[tuple[Any, ...]] = []
        try:
            with closing(sqlite3.connect(self._path, timeout=0.2)) as database:
                database.execute("PRAGMA synchronous = OFF")
                with database:
                    for sql, values in statements:
                        rows = database.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise TableUnreadable(f"{FILE}: {error}") from error
        return rows


def text_key(subject: str, reason: Reason, version: str) -> str:
    """Identity of a rewrite: nothing else may be delivered for it. Source: serving.md 9.4."""
    of = reason.grounds
    template_version = reason.template_id.partition("/")[0]
    facts = sha256(json.dumps(reason.known, ensure_ascii=False).encode("utf-8")).hexdigest()
    parts = [subject, of.item_id, of.task, version, template_version, QUESTIONS, facts, reason.locale]
    return sha256(json.dumps(parts, ensure_ascii=False).encode("utf-8")).hexdigest()
