"""V07 and V15: is the query store the evidence, no row more, no row less, no byte changed?

The store's own columns are written as the canonical header again and must hash to the leaf that the checkpoint
commits to; a doctored copy cannot do that, however consistent it is in itself. Source: audit.md 7.2, T9.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_lib.audit import chain, record
from pipeline_lib.audit.load import HEADER, SCHEMA, loaded_through, log_tables
from pipeline_lib.audit.plan import Facts, judged
from pipeline_lib.audit.report import AuditFinding, Check
from pipeline_lib.audit.segment import micros
from pipeline_lib.objects import Objects
from pipeline_lib.settings import Settings
from pipeline_lib.store import QueryStore, quarter_table

Row = Mapping[str, Any]


def checks(settings: Settings, facts: Facts) -> list[Check]:
    """V07 over every row, V15 over a sample drawn from the newest root; damaged files are a finding, not an error."""
    try:
        return _checks(settings, facts)
    except (RuntimeError, ValueError) as error:  # what LanceDB says of a file it cannot decode
        found = AuditFinding("STORE_DIVERGED", f"the query tables cannot be read: {str(error)[:300]}")
        return [judged("V07", 0, [found]), Check("V15", "skipped", 0, (), "the query tables cannot be read")]


def _checks(settings: Settings, facts: Facts) -> list[Check]:
    store = QueryStore(settings.place.query_store)
    names, through = log_tables(store.names()), loaded_through(store)
    rows = [(name, row) for name in names for row in store.read(name, SCHEMA.names).to_pylist()]
    same = _same_rows(rows, facts, through)
    waiting = [anchor.checkpoint for anchor in facts.past if anchor.checkpoint.n > through]
    reason = f"checkpoints {waiting[0].n} to {waiting[-1].n} are not loaded yet" if waiting else ""
    lag_us = settings.audit.max_load_lag_minutes * 60 * 1_000_000
    if not same and waiting and micros(facts.now) - micros(waiting[0].ts) > lag_us:
        return [Check("V07", "skipped", len(rows), (), reason), Check("V15", "skipped", 0, (), reason)]
    sampled = _sample(rows, facts, settings.audit.sample_rows)
    bytes_differ = _same_bytes(sampled, facts, record.store(settings))
    return [judged("V07", len(rows), same, reason), judged("V15", len(sampled), bytes_differ, reason)]


def skipped() -> list[Check]:
    reason = "asked to leave the query store out"
    return [Check(check_id, "skipped", 0, (), reason, by_design=True) for check_id in ("V07", "V15")]


def _same_rows(rows: Sequence[tuple[str, Row]], facts: Facts, through: int) -> list[AuditFinding]:
    leaves = [leaf for anchor in facts.past for leaf in anchor.index.leaves]
    ckpts = [anchor.checkpoint.n for anchor in facts.past for _ in anchor.index.leaves]
    found, seen, dropped = [], set(), _dropped(facts)
    for name, row in rows:
        leaf = row["leaf_index"]
        known = leaf is not None and 0 <= leaf < len(leaves)
        if not known:
            found.append(_diverged(row, f"{name}: no checkpoint covers leaf {leaf}"))
            continue
        if leaf in seen:
            found.append(_diverged(row, f"{name}: leaf {leaf} is there twice"))
        seen.add(leaf)
        if why := _why_not(name, row, leaves[leaf], ckpts[leaf], leaf in dropped):
            found.append(_diverged(row, f"{name}: {why}"))
    expected = sum(len(anchor.index.leaves) for anchor in facts.past if anchor.checkpoint.n <= through)
    gone = [leaf for leaf in range(expected) if leaf not in seen]
    found.extend(AuditFinding("STORE_DIVERGED", "the row is gone", leaf_index=leaf) for leaf in gone)
    if facts.past and through > facts.past[-1].checkpoint.n:
        found.append(AuditFinding("STORE_DIVERGED", f"loaded through checkpoint {through}, which does not exist"))
    return found


def _dropped(facts: Facts) -> set[int]:
    """Leaves whose payload the evidence does not hold any more."""
    parts = [(facts.covered[key][1], part) for key, part in facts.reading.segments.items() if key in facts.covered]
    return {first + one.seq - part.first_seq for first, part in parts for one in part.dropped}


def _why_not(name: str, row: Row, leaf: str, ckpt_n: int, dropped: bool) -> str | None:
    if chain.leaf(sealed_header(row)).hex() != leaf:
        return "the header is not the leaf"
    if row["payload"] is None and not dropped:
        return "the payload is gone here and not in the evidence"
    if row["payload"] is not None and chain.content_hash(row["payload"].encode()) != row["content_hash"]:
        return "the payload is not the one that was hashed"
    if name != quarter_table(row["log_table"], row["ts"]):
        return "the row lies in the wrong table"
    if row["ckpt_n"] != ckpt_n:
        return f"ckpt_n is {row['ckpt_n']}, expected {ckpt_n}"
    return None


def sealed_header(row: Row) -> bytes:
    """The canonical header with its hashes, written from the store's columns."""
    header = {name: row[name] for name in HEADER}
    return json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _sample(rows: Sequence[tuple[str, Row]], facts: Facts, count: int) -> list[Row]:
    if not facts.past:
        return []
    inside = sorted((row["leaf_index"], at) for at, (_, row) in enumerate(rows) if row["leaf_index"] is not None)
    drawn = random.Random(facts.past[-1].checkpoint.root).sample(inside, min(count, len(inside)))  # noqa: S311
    return [rows[at][1] for _, at in sorted(drawn)]


def _same_bytes(sampled: Sequence[Row], facts: Facts, evidence: Objects) -> list[AuditFinding]:
    places = sorted((first, item.rows, key) for key, (item, first, _) in facts.covered.items())
    found, dropped = [], _dropped(facts)
    lines: list[bytes] = []
    at, current = 0, -1
    for row in sampled:
        leaf = row["leaf_index"]
        while at < len(places) and places[at][0] + places[at][1] <= leaf:
            at += 1
        if at == len(places) or places[at][2] not in facts.reading.segments:
            continue  # V07 and V10 report these
        if current != at:
            lines, current = evidence.get(places[at][2]).split(b"\n"), at
        offset = leaf - places[at][0]
        kept = {**row, "payload": None} if leaf in dropped else row  # not loaded again yet: V07 has compared it
        if lines[offset : offset + 1] != [_line(kept)]:
            found.append(_diverged(row, "the row is not byte for byte the evidence"))
    return found


def _line(row: Row) -> bytes:
    hashes = ("entry_hash", "hmac")
    header = {name: row[name] for name in HEADER if name not in hashes}
    body = json.dumps(header, ensure_ascii=False, separators=(",", ":"))
    payload = row["payload"] or "null"
    text = f'{{"entry_hash":"{row["entry_hash"]}","header":{body},"hmac":"{row["hmac"]}","payload":{payload}}}'
    return text.encode("utf-8", "surrogatepass")


def _diverged(row: Row, detail: str) -> AuditFinding:
    return AuditFinding("STORE_DIVERGED", detail, row["writer_id"], row["epoch"], row["seq"], row["leaf_index"])
