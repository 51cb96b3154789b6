"""The checks of audit.md 7.2 over what was gathered: plain values in, one ``Check`` out. No I/O.

``PLAN`` is the list; V07 and V15 need the query store and are in ``storecheck``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline_lib.audit import anchors, doubt, keyring, note
from pipeline_lib.audit.anchors import Anchor, Covered
from pipeline_lib.audit.evidence import Reading, RowFact, SegmentRead
from pipeline_lib.audit.keyring import Ring
from pipeline_lib.audit.report import AuditFinding, Check
from pipeline_lib.audit.segment import micros
from pipeline_lib.audit.witness import Kept, mismatches
from pipeline_lib.records import Receipt

IDEM_WINDOW_US = 48 * 3600 * 1_000_000
"""Idempotency keys are unique for so long [microseconds]. Source: audit.md 4.2."""
_ONE_ROW_PER_REQUEST = {"data_access", "prediction"}
_ROW_SET = ("prediction", "attribution", "guardrail")


@dataclass(frozen=True)
class Facts:
    """What the checks look at."""

    past: Sequence[Anchor]
    """Checkpoints that hold, in order."""
    covered: Mapping[str, tuple[Covered, int, Anchor]]
    anchor_problem: str | None
    witness: Mapping[str, bytes]
    """Copies of the notes kept elsewhere."""
    reading: Reading
    receipts: Sequence[Receipt]
    now: str
    max_intent_minutes: int
    anchor_skew_s: int
    ring: Ring | None = None
    """The registry of keys; None when it does not verify."""
    ring_problem: str | None = None
    kept: Sequence[Kept] = ()
    """Notes that somebody outside kept."""

    def at(self, code: str, detail: str, part: SegmentRead, seq: int) -> AuditFinding:
        """A finding about one entry, with its leaf when it has one."""
        item, first_leaf, _ = self.covered.get(part.key, (None, 0, None))
        offset = seq - part.first_seq
        leaf = first_leaf + offset if item and 0 <= offset < item.rows else None
        return AuditFinding(code, detail, part.chain.writer_id, part.chain.epoch, seq, leaf)

    def about(self, code: str, detail: str, n: int) -> AuditFinding:
        """A finding about checkpoint ``n``, with the first entry in doubt."""
        return doubt.of_checkpoint(code, detail, n, self.past, self.covered, self.reading)


def judged(check_id: str, n: int, findings: Iterable[AuditFinding], reason: str = "") -> Check:
    found = tuple(findings)
    return Check(check_id, "fail" if found else "pass", n, found, reason)


def _from_walking(check_id: str, *codes: str) -> Callable[[Facts], Check]:
    """A check that walking the chains has already made."""

    def check(facts: Facts) -> Check:
        parts = facts.reading.segments.values()
        found = [facts.at(f.code, f.detail, part, f.seq) for part in parts for f in part.faults if f.code in codes]
        return judged(check_id, len(facts.reading.facts), found)

    return check


def readable(facts: Facts) -> Check:
    """V01, and nothing else lies among the segments."""
    check = _from_walking("V01", "BAD_SEGMENT")(facts)
    strays = [AuditFinding("BAD_SEGMENT", f"{key} is not named like a segment") for key in facts.reading.strays]
    return judged("V01", len(facts.reading.segments), [*check.findings, *strays])


def unique(facts: Facts) -> Check:
    """V05: ``idem`` within 48 hours, and one access and one prediction row for a request."""
    found = []
    last_idem: dict[str, RowFact] = {}
    requests: dict[tuple[str, str], RowFact] = {}
    for row in sorted(facts.reading.facts, key=lambda row: (row.ts, row.key, row.seq)):
        part = facts.reading.segments[row.key]
        before = last_idem.get(row.idem)
        if before and micros(row.ts) - micros(before.ts) <= IDEM_WINDOW_US:
            found.append(facts.at("DUPLICATE", f"idem was used by {before.key} entry {before.seq}", part, row.seq))
        last_idem[row.idem] = row
        if row.request_id and row.event in _ONE_ROW_PER_REQUEST:
            first = requests.setdefault((row.event, row.request_id), row)
            if first is not row:
                detail = f"a second {row.event} of one request; the first is {first.key} entry {first.seq}"
                found.append(facts.at("DUPLICATE", detail, part, row.seq))
    return judged("V05", len(facts.reading.facts), found)


def authentic(facts: Facts) -> Check:
    """V06, and one key for a whole chain."""
    found = list(_from_walking("V06", "MAC_INVALID")(facts).findings)
    by_chain: dict[object, set[str]] = defaultdict(set)
    if facts.ring_problem:
        found.append(AuditFinding("MAC_INVALID", f"the registry of keys does not verify: {facts.ring_problem}"))
    for part in facts.reading.segments.values():
        found.extend(_untrusted(facts, part))
        by_chain[part.chain] |= part.key_ids
        if len(by_chain[part.chain]) > 1:
            found.append(
                facts.at("MAC_INVALID", f"one chain, keys {sorted(by_chain[part.chain])}", part, part.first_seq)
            )
    if not found and facts.reading.keyless:
        key, why = next(iter(facts.reading.keyless.items()))
        return Check(
            "V06", "skipped", 0, (), f"{len(facts.reading.keyless)} segments without a key, first {key}: {why}"
        )
    return judged("V06", len(facts.reading.facts), found)


def _untrusted(facts: Facts, part: SegmentRead) -> Iterable[AuditFinding]:
    """A segment under a key that was not in force."""
    n = facts.covered[part.key][2].checkpoint.n if part.key in facts.covered else None
    if (ring := facts.ring) is None:
        return
    for key_id in sorted(part.key_ids):
        if why := keyring.why_not(ring, facts.past, key_id, part.last.ts, n):
            yield facts.at(*why, part, part.first_seq)


def in_tree(facts: Facts) -> Check:
    """V08: leaves and bytes of every covered segment are those the root was computed from."""
    found = []
    for key, (item, first_leaf, anchor) in facts.covered.items():
        part = facts.reading.segments.get(key)
        if part is None:
            continue  # V10 reports it
        start = first_leaf - anchor.index.first_leaf
        expected = [bytes.fromhex(leaf) for leaf in anchor.index.leaves[start : start + item.rows]]
        wrong = [at for at, leaf in enumerate(expected) if part.leaves[at : at + 1] != (leaf,)]
        for at in wrong:
            detail = f"not the leaf under checkpoint {anchor.checkpoint.n}"
            found.append(facts.at("TREE_BROKEN", detail, part, part.first_seq + at))
        if not wrong and not part.dropped and part.sha256 != item.sha256:  # reduced: leaves hold it, V18 judges it
            detail = f"{key} is not the segment under checkpoint {anchor.checkpoint.n}"
            found.append(facts.at("TREE_BROKEN", detail, part, part.first_seq + item.rows))
    return judged("V08", sum(item.rows for item, _, _ in facts.covered.values()), found)


def continued(facts: Facts) -> Check:
    """V09; without any checkpoint a cut record looks whole, so there is nothing to stand on."""
    if facts.anchor_problem:
        return judged("V09", len(facts.past), [facts.about("CKPT_INVALID", facts.anchor_problem, len(facts.past) + 1)])
    if not facts.past:
        return Check("V09", "skipped", 0, (), "no checkpoint exists")
    return judged("V09", len(facts.past), [])


def as_long_as_anchored(facts: Facts) -> Check:
    """V10: a cut tail, a lost segment or a restored old copy."""
    gone = [(key, first) for key, (_, first, _) in facts.covered.items() if key not in facts.reading.segments]
    found = [
        AuditFinding("STORE_BEHIND_ANCHOR", f"{key} is covered by a checkpoint and gone", leaf_index=first)
        for key, first in gone
    ]
    return judged("V10", len(facts.covered), found)


def ends_as_promised(facts: Facts) -> Check:
    """V11: heads in the writer vectors, and receipts that callers hold, against the data."""
    found = []
    ends = {(part.chain, part.last.seq): part.last.entry_hash for part in facts.reading.segments.values()}
    present = {(chain.writer_id, chain.epoch): chain for chain, _ in ends}
    promises = [(h.writer_id, h.epoch, h.seq, h.entry_hash) for anchor in facts.past for h in anchor.index.heads]
    promises += [(r.writer_id, r.epoch, r.last_seq, r.last_entry_hash) for r in facts.receipts]
    for writer_id, epoch, seq, entry_hash in promises:
        chain = present.get((writer_id, epoch))
        if chain is not None and ends.get((chain, seq)) == entry_hash:
            continue
        detail = "this entry was promised as durable and is not there as promised"
        found.append(AuditFinding("WRITER_TRUNCATED", detail, writer_id, epoch, seq))
    return judged("V11", len(promises), dict.fromkeys(found))


def writers_known(facts: Facts) -> Check:
    """V12: chains in the vectors are there; every chain was opened, or has room for one segment only."""
    first: dict[tuple[str, int], SegmentRead] = {}
    count: Counter[tuple[str, int]] = Counter()
    for part in facts.reading.segments.values():
        key = (part.chain.writer_id, part.chain.epoch)
        first.setdefault(key, part)
        count[key] += 1
    missing = anchors.heads(facts.past).keys() - first.keys()
    found = [AuditFinding("WRITER_MISSING", "the whole chain is gone", *key) for key in sorted(missing)]
    for key, part in first.items():
        if part.chain.is_once and count[key] > 1:
            found.append(AuditFinding("UNISSUED_WRITER", "a chain for one segment has several", *key))
        if not part.chain.is_once and part.first_event not in (None, "writer_open"):
            found.append(facts.at("UNISSUED_WRITER", "does not begin with writer_open", part, part.first_seq))
    return judged("V12", len(first), found, "no broker issues chains in this profile")


def witnessed(facts: Facts) -> Check:
    """V13: copies of the notes in another store."""
    ours = {anchors.witness_key(anchor.checkpoint.n): anchor for anchor in facts.past}
    found = []
    for key in sorted(facts.witness.keys() | ours.keys()):
        n = ours[key].checkpoint.n if key in ours else len(ours) + 1
        if key not in ours:
            detail = f"{key} was signed once; the anchor store does not hold it"
        elif key not in facts.witness:
            detail = f"the copy {key} is gone"
        elif note.digest(facts.witness[key]) != note.digest(ours[key].note):
            detail = f"the copy {key} is of another checkpoint"
        else:
            continue
        found.append(facts.about("ANCHOR_MISMATCH", detail, n))
    found += [facts.about("ANCHOR_MISMATCH", *wrong) for wrong in mismatches(facts.past, facts.kept)]
    undone = [f"{kept.name}: {kept.why}" for kept in facts.kept if kept.why]
    if undone and not found:
        return Check("V13", "skipped", 0, (), f"{len(undone)} kept notes cannot be compared, first {undone[0]}")
    kept = f"{len(facts.kept) - len(undone)} notes that somebody outside kept were compared too"
    alone = "the copies lie in the object store, not with an outside party"
    return judged("V13", len(ours) + len(facts.kept), found, kept if facts.kept else alone)


def clocks(facts: Facts) -> Check:
    """V14: times grow in each chain and are not later than the checkpoint that covers them."""
    found = list(_from_walking("V14", "CLOCK_SUSPECT")(facts).findings)
    for key, (_, _, anchor) in facts.covered.items():
        part = facts.reading.segments.get(key)
        limit = micros(anchor.checkpoint.ts) + facts.anchor_skew_s * 1_000_000
        if part and part.last.ts and micros(part.last.ts) > limit:
            detail = f"{part.last.ts} is after checkpoint {anchor.checkpoint.n} of {anchor.checkpoint.ts}"
            found.append(facts.at("CLOCK_SUSPECT", detail, part, part.last.seq))
    reason = "how old an entry was when first covered is not judged: checkpoints follow runs here, not minutes"
    return judged("V14", len(facts.reading.facts), found, reason)


def row_sets(facts: Facts) -> Check:
    """V17: one prediction, attribution and guardrail row for a prediction, one access row for its request."""
    events: dict[str, Counter[str]] = defaultdict(Counter)
    requests: dict[str, str | None] = {}
    accesses = Counter(row.request_id for row in facts.reading.facts if row.event == "data_access")
    for row in facts.reading.facts:
        if row.prediction_id and row.event in _ROW_SET:
            events[row.prediction_id][row.event] += 1
            requests[row.prediction_id] = row.request_id
    found = []
    for prediction_id, counts in events.items():
        have = {**{event: counts[event] for event in _ROW_SET}, "data_access": accesses[requests[prediction_id]]}
        if wrong := {event: count for event, count in have.items() if count != 1}:
            found.append(
                AuditFinding("ROWSET_INCOMPLETE", f"prediction {prediction_id}: rows {wrong}, expected 1 each")
            )
    return judged("V17", len(events), found)


def intents_closed(facts: Facts) -> Check:
    """V20: no intent without its outcome for longer than allowed."""
    opened: dict[str, RowFact] = {}
    closed = set()
    for row in facts.reading.facts:
        if row.action and row.action[1] == "intent":
            opened[row.action[0]] = row
        elif row.action and row.action[1] in ("done", "failed"):
            closed.add(row.action[0])
    limit_us = facts.max_intent_minutes * 60 * 1_000_000
    found = [
        facts.at("INTENT_OPEN", f"action {action} of {row.ts} has no outcome", facts.reading.segments[row.key], row.seq)
        for action, row in opened.items()
        if action not in closed and micros(facts.now) - micros(row.ts) > limit_us
    ]
    return judged("V20", len(opened), found, "heartbeats are not judged: nothing runs between the runs here")


def not_judged() -> list[Check]:
    """What this deployment cannot answer; listed in every report."""
    why = {
        "V16": "no gateway counts requests in this profile",
    }
    return [Check(check_id, "skipped", 0, (), reason, by_design=True) for check_id, reason in why.items()]


PLAN: tuple[Callable[[Facts], Check], ...] = (
    readable,
    _from_walking("V02", "ROW_ALTERED"),
    _from_walking("V03", "HEADER_ALTERED"),
    _from_walking("V04", "CHAIN_BROKEN", "SEQ_GAP"),
    unique,
    authentic,
    in_tree,
    continued,
    as_long_as_anchored,
    ends_as_promised,
    writers_known,
    witnessed,
    clocks,
    row_sets,
    intents_closed,
)
