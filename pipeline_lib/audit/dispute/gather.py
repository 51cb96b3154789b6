"""Everything the record holds about one customer's answers of one day. A partner that is missing stays missing.

Source: audit.md 10, steps 2 to 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline_lib.audit.dispute.rows import Row, Rows, any_of, text
from pipeline_lib.audit.segment import micros, timestamp

OPERATIONS = "log_operation"
IN_FORCE = (
    "manifest_swap", "threshold_change", "guardrail_threshold_change", "config_change",
)  # fmt: skip
SWITCHES = ("kill_switch_fired", "kill_switch_cleared")
RIGHTS = (
    "review_enqueued", "review_decided", "review_expired", "optout_set", "optout_cleared", "profiling_request",
    "profiling_closed", "explanation_request", "explanation_closed", "consent_change", "complaint", "legal_hold",
    "erasure",
)  # fmt: skip
CHANGES_CHAMPION = frozenset({"bootstrap", "promote", "force_promote"})


@dataclass(frozen=True)
class Told:
    """One answer with its partners; None or empty is a hole, and the answer says so."""

    prediction: Row
    access: Sequence[Row]
    attribution: Sequence[Row]
    guardrail: Sequence[Row]
    late: Sequence[Row]
    """Explanations asked for afterwards."""
    humans: Sequence[Row]
    swap: Row | None
    """The newest change of the pointer before the answer, whatever version it named."""
    made_champion: Row | None
    """The newest change of the pointer to the answer's version before it."""
    verdicts: Sequence[Row]
    """The verdict that change rests on, then the one that verdict rests on."""
    in_force: Sequence[Row]
    """The newest row of each kind before the answer."""
    switches: Sequence[Row]
    """Kill switches that were on at the answer."""
    dimension: Row | None

    def rows(self) -> Iterator[Row]:
        """All of them, each once."""
        partners = [*self.access, *self.attribution, *self.guardrail, *self.late, *self.humans]
        release = [*self.verdicts, *self.in_force, *self.switches]
        ones = [row for row in (self.prediction, self.swap, self.made_champion, self.dimension) if row]
        yield from {row.leaf_index: row for row in [*ones, *partners, *release]}.values()


@dataclass(frozen=True)
class Gathered:
    answers: Sequence[Told]
    about_subject: Sequence[Row]
    """Rights and reviews of the customer that name no answer of this day."""

    def rows(self) -> list[Row]:
        """Every entry the answer rests on, in leaf order, each once."""
        found = [row for told in self.answers for row in told.rows()] + list(self.about_subject)
        return [row for _, row in sorted({row.leaf_index: row for row in found}.items())]


@dataclass(frozen=True)
class _Context:
    """What is read once for all answers of the day."""

    operations: Sequence[Row]
    switches: Sequence[Row]
    """Of any time: a switch acts first, and its row may come from a spool days later."""
    promotions: Sequence[Row]
    dimensions: Sequence[Row]


def gather(rows: Rows, subject: str, start: str, end: str, product: str | None) -> Gathered:
    """The answers with ``start <= ts < end``, optionally only those that recommended a product."""
    named = f"event = 'prediction' AND payload LIKE {text(f'%{subject}%')}"
    found = [row for row in rows.find("log_model_inference", named, start, end) if _is_about(row, subject, product)]
    ids = [row.stored["prediction_id"] for row in found]
    requests = [row.stored["request_id"] for row in found]
    of_prediction, of_request = any_of("prediction_id", ids), any_of("request_id", requests)
    partners = [
        *rows.find("log_attribution", of_prediction, start),
        *rows.find("log_guardrail", of_prediction, start),
        *rows.find("log_data_access", f"event = 'data_access' AND {of_request}", start),
    ]
    humans = rows.find(OPERATIONS, f"{any_of('event', RIGHTS)} AND {_mentions([subject, *ids, *requests])}")
    context = _Context(
        rows.find(OPERATIONS, any_of("event", IN_FORCE), until=end),
        rows.find(OPERATIONS, any_of("event", SWITCHES)),
        rows.find("log_model_promotion", "event = 'promotion_decision'", until=end),
        rows.find("log_dimension_change", "event = 'dimension_change'", until=end),
    )
    answers = [_told(row, partners, humans, context) for row in found] if found else []
    taken = {row.leaf_index for told in answers for row in told.humans}
    return Gathered(answers, [row for row in humans if row.leaf_index not in taken])


def _is_about(row: Row, subject: str, product: str | None) -> bool:
    said = row.said
    shown = {item["product_id"] for item in said.get("recommended") or []}
    return said.get("subject_ref") == subject and (product is None or product in shown)


def _mentions(values: Sequence[str | None]) -> str:
    likes = [f"payload LIKE {text(f'%{value}%')}" for value in values if value]
    return f"({' OR '.join([*likes, any_of('prediction_id', values)])})"


def _told(row: Row, partners: Sequence[Row], humans: Sequence[Row], context: _Context) -> Told:
    mine = [one for one in partners if _belongs(one, row)]
    swaps = [one for one in context.operations if one.event == "manifest_swap" and one.said.get("phase") == "done"]
    to_version = [one for one in swaps if _detail(one, "version") == row.said.get("model_version")]
    made = _latest(to_version, row.ts)
    own = (row.stored["prediction_id"], row.stored["request_id"])
    return Told(
        prediction=row,
        access=[one for one in mine if one.event == "data_access"],
        attribution=[one for one in mine if one.event == "attribution"],
        guardrail=[one for one in mine if one.event == "guardrail"],
        late=[one for one in mine if one.event.endswith("_late")],
        humans=[one for one in humans if one.stored["prediction_id"] in own or one.said.get("object_id") in own],
        swap=_latest(swaps, row.ts),
        made_champion=made,
        verdicts=_verdicts(context.promotions, made, row),
        in_force=_in_force(context, row.ts),
        switches=_switches_on(context.switches, row.ts),
        dimension=_latest(context.dimensions, row.ts),
    )


def _belongs(one: Row, row: Row) -> bool:
    if one.event == "data_access":
        return bool(one.stored["request_id"] == row.stored["request_id"])
    return bool(one.stored["prediction_id"] == row.stored["prediction_id"])


def _verdicts(promotions: Sequence[Row], made: Row | None, row: Row) -> list[Row]:
    """From the verdict that put the version there back to the one that asked for a person."""
    by_id = {one.said.get("decision_id"): one for one in promotions if one.ts <= row.ts}
    wanted = _detail(made, "decision_id") if made else None
    if wanted is None:
        version = row.said.get("model_version")
        named = [one for one in by_id.values() if one.said.get("challenger_version") == version]
        newest = _latest([one for one in named if one.said.get("decision") in CHANGES_CHAMPION], row.ts)
        wanted = newest.said["decision_id"] if newest else None
    found: list[Row] = []
    while wanted in by_id and by_id[wanted] not in found:
        found.append(by_id[wanted])
        wanted = by_id[wanted].said.get("basis_decision_id")
    return found


def _in_force(context: _Context, ts: str) -> list[Row]:
    kinds = [event for event in IN_FORCE if event != "manifest_swap"]
    found = [_latest([one for one in context.operations if one.event == event], ts) for event in kinds]
    for event in SWITCHES:
        acted = [one for one in context.switches if one.event == event and _acted_at(one) <= ts]
        found.append(max(acted, key=_acted_at, default=None))
    return [row for row in found if row]


def _switches_on(switches: Sequence[Row], ts: str) -> list[Row]:
    """Switches whose last word before ``ts`` was that they fired."""
    last: dict[object, Row] = {}
    for row in sorted(switches, key=lambda row: (_acted_at(row), row.leaf_index)):
        if _acted_at(row) <= ts and row.said.get("phase") in ("single", "done"):
            last[row.said.get("object_id")] = row
    return [row for row in last.values() if row.event == "kill_switch_fired"]


def _acted_at(row: Row) -> str:
    """When a switch took effect, which is before its row when the record was not to be reached."""
    effective = _detail(row, "effective_at")
    return timestamp(micros(effective)) if effective else row.ts


def _latest(rows: Sequence[Row], ts: str) -> Row | None:
    return max((row for row in rows if row.ts <= ts), key=_order, default=None)


def _order(row: Row) -> tuple[str, int]:
    return row.ts, row.leaf_index


def _detail(row: Row | None, name: str) -> str | None:
    details = (row.said.get("details") if row else None) or {}
    value = details.get(name)
    return None if value is None else str(value)
