"""V18 and V19: may what is gone be gone? Plain values in, one ``Check`` out. No I/O.

A payload may be missing when a row that was written before it went says so: expiry of its table (old enough, no legal
hold) or an erasure that two people approved. The row names segment, table, number and a digest over the content
hashes, which the headers still hold, so it can stand for nothing else. Source: audit.md 5.1, 7.2, 8.4.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline_lib.audit.evidence import Act, Gone
from pipeline_lib.audit.plan import Facts, judged
from pipeline_lib.audit.report import AuditFinding, Check
from pipeline_lib.audit.segment import micros
from pipeline_lib.settings.audit import FLOOR_DAYS

HOLD, ERASURE, DROP = "legal_hold", "erasure", "retention_drop"
RECORD = "record"
"""Object of a hold that is on everybody."""
NEVER = frozenset(
    """writer_open writer_close key_issue key_register key_rotate key_revoke verify_result legal_hold erasure
    retention_drop""".split()
)
"""Events whose payloads verification itself needs: they are never dropped."""
DAY_US = 86_400 * 1_000_000


class Hold(NamedTuple):
    object_id: str
    """Pseudonym, or ``RECORD``."""
    since: str
    until: str
    """Empty while it is on."""


def digest_of(content_hashes: Iterable[str]) -> str:
    """What a row about gone payloads commits to: SHA-256 over their content hashes in order of entry."""
    return hashlib.sha256("\n".join(content_hashes).encode()).hexdigest()


def holds(acts: Iterable[Act]) -> list[Hold]:
    """Every legal hold there was, with its end."""
    found: dict[str, list[Hold]] = defaultdict(list)
    for act in sorted((act for act in acts if act.event == HOLD), key=lambda act: act.ts):
        of, state = str(act.payload.get("object_id")), (act.payload.get("details") or {}).get("state")
        on = bool(found[of]) and not found[of][-1].until
        if state == "held" and not on:
            found[of].append(Hold(of, act.ts, ""))
        elif state == "released" and on:
            found[of][-1] = found[of][-1]._replace(until=act.ts)
    return [one for of in found.values() for one in of]


def held(every: Iterable[Hold], ts: str, subject: str | None = None) -> Hold | None:
    """A hold that was on at ``ts``: on this subject or everybody; any hold at all when no subject is named."""
    on = [one for one in every if one.since <= ts and (not one.until or ts < one.until)]
    return next((one for one in on if subject is None or one.object_id in (subject, RECORD)), None)


def expired(facts: Facts) -> Check:
    """V18: every payload that is gone went as a row said it would."""
    said = _announced(facts)
    n = 0
    found: list[AuditFinding] = []
    for part in facts.reading.segments.values():
        for table, gone in _by_table(part.dropped).items():
            n += len(gone)
            bad = _unaccounted(said[part.key, table], gone)
            found.extend(facts.at("EARLY_DELETE", why, part, seq) for seq, why in bad.items())
    return judged("V18", n, found)


def erased(facts: Facts) -> Check:
    """V19: two people, neither of whom asked, and no hold."""
    acts, every = facts.reading.acts, holds(facts.reading.acts)
    carried = [act for act in acts if _step(act) == "execute"]
    found = []
    for act in carried:
        if why := unauthorised(act, acts, every):
            part = facts.reading.segments[act.key]
            found.append(facts.at("ERASURE_UNAUTHORISED", why, part, act.seq))
    return judged("V19", len(carried), found)


def unauthorised(act: Act, acts: Sequence[Act], every: Sequence[Hold]) -> str:
    """Why an erasure may not be carried out; empty when it may."""
    request, subject = str(act.payload.get("object_id")), _details(act).get("subject_ref")
    of = [one for one in acts if one.event == ERASURE and one.payload.get("object_id") == request and one.ts < act.ts]
    askers = [one for one in of if _step(one) == "request" and _details(one).get("subject_ref") == subject]
    if not askers or not subject:
        return f"{request}: nobody asked for it"
    asked_by = {_who(one) for one in askers}
    agreed = {_who(one) for one in of if _step(one) == "approve" and _details(one).get("subject_ref") == subject}
    if len(agreed - asked_by) < 2:
        return f"{request}: approved by {len(agreed - asked_by)} who did not ask, two are needed"
    begun = min((one.ts for one in of if _step(one) == "execute"), default=act.ts)
    hold = held(every, begun, str(subject))
    return f"{request}: a legal hold was on since {hold.since}" if hold else ""


def _announced(facts: Facts) -> Mapping[tuple[str, str], list[tuple[Act, Mapping[str, Any]]]]:
    """(segment, table) -> rows that say which payloads go, of acts that may."""
    acts, every = facts.reading.acts, holds(facts.reading.acts)
    found: dict[tuple[str, str], list[tuple[Act, Mapping[str, Any]]]] = defaultdict(list)
    for act in acts:
        is_erasure = _step(act) == "execute" and not unauthorised(act, acts, every)
        is_drop = act.event == DROP and not held(every, act.ts)
        if is_erasure or is_drop:
            for item in _details(act).get("drops") or []:
                found[str(item.get("segment")), str(item.get("table"))].append((act, item))
    return found


def _unaccounted(said: Sequence[tuple[Act, Mapping[str, Any]]], gone: Sequence[Gone]) -> dict[int, str]:
    """Entries of one table of one segment that went without leave."""
    bad = {one.seq: f"the payload of this {one.event} is gone and no row accounts for it" for one in gone}
    for act, item in said:
        named = item.get("seqs")
        of = [one for one in gone if named is None or one.seq in named]
        if item.get("count") != len(of) or item.get("digest") != digest_of(one.content_hash for one in of):
            continue
        for one in of:
            why = _too_early(act, item, one)
            bad.pop(one.seq, None) if not why else bad.update({one.seq: why})
    return bad


def _too_early(act: Act, item: Mapping[str, Any], one: Gone) -> str:
    if one.event in NEVER:
        return f"the payload of {one.event} is never dropped"
    if act.event == ERASURE:
        return ""
    days = item.get("days")
    if not isinstance(days, int) or days < FLOOR_DAYS[one.log_table]:
        return f"dropped after {days} days; {one.log_table} is kept {FLOOR_DAYS[one.log_table]} or more"
    early = micros(act.ts) - micros(one.ts) < days * DAY_US
    return f"of {one.ts}, dropped by the row of {act.ts}, before its {days} days" if early else ""


def _by_table(gone: Iterable[Gone]) -> dict[str, list[Gone]]:
    found: dict[str, list[Gone]] = defaultdict(list)
    for one in gone:
        found[one.log_table].append(one)
    return found


def _details(act: Act) -> Mapping[str, Any]:
    details = act.payload.get("details")
    return details if isinstance(details, Mapping) else {}


def _step(act: Act) -> str | None:
    return _details(act).get("step") if act.event == ERASURE else None


def _who(act: Act) -> str:
    """A person, however the name is spelt."""
    return str(act.payload.get("actor_ref")).strip().casefold()
