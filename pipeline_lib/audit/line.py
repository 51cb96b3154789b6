"""One stored line of the record, and how to read it without parsing and writing JSON again.

A line is the canonical JSON ``{"entry_hash":..,"header":{..},"hmac":..,"payload":{..}}``. The hashes are taken over
the stored bytes of header and payload. The pattern below admits a header in its canonical form only: fixed keys
in order, no spaces, one spelling of every value; it cannot match inside a string, since a quote in a string is
escaped. Source: audit.md 4.2-4.4.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline_lib.audit import chain
from pipeline_lib.canonical import canonical_bytes

CANON = "c1"
MAX_PAYLOAD = 64 * 1024
"""Canonical payload [bytes]. Source: audit.md C10."""
MAX_HEADER = 4 * 1024
"""Header with hashes [bytes]. Source: audit.md C10."""

DROPPED = b"null"
"""What stands for a payload that retention or an erasure took; an object is never it."""

_HEX = r'"([0-9a-f]{64})"'
_TEXT = r'"([^"\\\x00-\x1f]*+(?:\\(?:["\\bfnrt]|u00[01][0-9a-f])[^"\\\x00-\x1f]*+)*+)"'
_WORD = r'"([a-z0-9_]+)"'
_NUMBER = r"(0|[1-9][0-9]{0,15})"
_MAYBE = r"(?:null|" + _TEXT + r")"
_TIME = r'"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z)"'
_LINE = re.compile(
    r'\{"entry_hash":' + _HEX + r',"header":(\{"canon":"c1","clock":"(ok|adjusted|suspect)","content_hash":' + _HEX
    + r',"epoch":' + _NUMBER + r',"event":' + _WORD + r',"idem":' + _TEXT + r',"key_id":' + _TEXT
    + r',"log_table":' + _WORD + r',"origin":' + _TEXT + r',"prediction_id":' + _MAYBE + r',"prev_hash":' + _HEX
    + r',"request_id":' + _MAYBE + r',"schema":' + _NUMBER + r',"seg":' + _NUMBER + r',"seq":' + _NUMBER
    + r',"ts":' + _TIME + r',"writer_id":' + _TEXT + r'\}),"hmac":' + _HEX + r',"payload":(\{.*\}|null)\}',
    re.DOTALL,
)  # fmt: skip


class Line(NamedTuple):
    """One line, taken apart but not decoded: ``header`` and ``payload`` are the stored bytes."""

    entry_hash: str
    header: bytes
    clock: str
    content_hash: str
    epoch: int
    event: str
    idem: str
    key_id: str
    log_table: str
    origin: str
    prediction_id: str | None
    prev_hash: str
    request_id: str | None
    schema: int
    seg: int
    seq: int
    ts: str
    writer_id: str
    hmac: str
    payload: bytes

    @property
    def dropped(self) -> bool:
        """Is the payload gone, the header kept? What is written always has one; V18 judges whether it may be gone."""
        return self.payload == DROPPED

    @property
    def sealed_header(self) -> bytes:
        """Canonical header with ``entry_hash`` and ``hmac`` in their sorted places."""
        head, rest = self.header.split(b',"epoch":', 1)
        middle, tail = rest.split(b',"idem":', 1)
        return b'%b,"entry_hash":"%b","epoch":%b,"hmac":"%b","idem":%b' % (
            head, self.entry_hash.encode(), middle, self.hmac.encode(), tail,
        )  # fmt: skip

    @property
    def leaf(self) -> bytes:
        return chain.leaf(self.sealed_header)

    def header_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.sealed_header)
        return found

    def payload_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.payload)
        return found


def seal(header: Mapping[str, Any], payload: bytes, key: bytes) -> tuple[bytes, str]:
    """The stored line (without line end) of a header and a canonical payload, and its entry hash.

    Raises:
        ValueError: header or payload is larger than the record admits.
    """
    body = canonical_bytes(header)
    entry_hash, hmac = chain.entry_hash(body), chain.mac(key, body)
    if len(payload) > MAX_PAYLOAD or len(body) + 2 * 64 > MAX_HEADER:
        raise ValueError(
            f"payload of {len(payload)} bytes (limit {MAX_PAYLOAD}), header of {len(body)} (limit {MAX_HEADER}): "
            "store the large field as an object and record its hash"
        )
    line = b'{"entry_hash":"%b","header":%b,"hmac":"%b","payload":%b}' % (
        entry_hash.encode(), body, hmac.encode(), payload,
    )  # fmt: skip
    return line, entry_hash


def parse(raw: bytes) -> Line:
    """Take one stored line apart; raises ValueError when it does not have the one admitted form."""
    found = _LINE.fullmatch(raw.decode())
    if found is None:
        raise ValueError(f"not a line of the record: {raw[:80]!r}")
    g = found.groups()
    return Line(
        entry_hash=g[0],
        header=g[1].encode(),
        clock=g[2],
        content_hash=g[3],
        epoch=int(g[4]),
        event=g[5],
        idem=_text(g[6]),
        key_id=_text(g[7]),
        log_table=g[8],
        origin=_text(g[9]),
        prediction_id=g[10] and _text(g[10]),
        prev_hash=g[11],
        request_id=g[12] and _text(g[12]),
        schema=int(g[13]),
        seg=int(g[14]),
        seq=int(g[15]),
        ts=g[16],
        writer_id=_text(g[17]),
        hmac=g[18],
        payload=g[19].encode(),
    )


def is_canonical(raw: bytes) -> bool:
    """Does the whole line re-serialise to the same bytes (rule C12)? The slow check, for what is seen first."""
    try:
        return canonical_bytes(json.loads(raw, object_pairs_hook=_no_duplicates)) == raw
    except (ValueError, TypeError, RecursionError):
        return False


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    body = dict(pairs)
    if len(body) != len(pairs):
        raise ValueError("a key is written twice")
    return body


def _text(inner: str) -> str:
    """A JSON string's content; decoding only when something is escaped."""
    return str(json.loads(f'"{inner}"')) if "\\" in inner else inner
