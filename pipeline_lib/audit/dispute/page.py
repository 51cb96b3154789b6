"""The answer as a page for a customer's advocate or a judge. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from pipeline_lib.audit.dispute.ask import Answer
from pipeline_lib.audit.dispute.markup import Html, bar, bullets, document, facts, seoul, show, table

Body = Mapping[str, Any]
NO_NUMBER = (
    "The customer's number is not in this document: it would tie the pseudonym to a person for as long as a copy of "
    "it exists. The case says who it is about."
)


def page(answer: Answer) -> str:
    """One HTML page, printable."""
    body = answer.body
    parts = [*_head(answer)]
    for number, one in enumerate(body["answers"], 1):
        parts += _one(one, number, len(body["answers"]))
    parts += [*_subject(body), *_proof(answer)]
    return document(f"Answer of the record: case {body['asked']['case']}", "\n".join(parts))


def _head(answer: Answer) -> Iterator[str]:
    body, asked, point = answer.body, answer.body["asked"], answer.body["as_of"]
    state = '<span class="tag good">VERIFIED</span>' if answer.verified else '<span class="tag bad">NOT VERIFIED</span>'
    yield "<h1>What the record says <small>분쟁 질의에 대한 기록의 답변</small></h1>"
    yield f'<p class="lead">{state} {len(answer.rows)} entries of the record, as of checkpoint {point["n"]} of '
    yield f"{seoul(point['ts'])}.</p>"
    if not answer.verified:
        yield "<p><b>Do not rely on this page: rows are not those under the checkpoint. See Proof.</b></p>"
    yield facts([
        ("Case", asked["case"]), ("Reason for asking", asked["reason"]), ("Customer (pseudonym)", asked["subject_ref"]),
        ("Day", f"{asked['on']}, Asia/Seoul"), ("Product", asked["product"] or "any"),
        ("Record", point["origin"]), ("Answers found", str(len(body["answers"]))),
    ])  # fmt: skip
    yield f"<p>{NO_NUMBER}</p>"
    if body["holes"]:
        yield "<h3>Holes</h3>" + bullets(body["holes"], "")


def _one(one: Body, number: int, of: int) -> Iterator[str]:
    first = ' class="first"' if number == 1 else ""
    yield f"<h2{first}>Answer {number} of {of}: {seoul(one['event_time'])}</h2>"
    yield _in_one_sentence(one)
    yield from (_decided(one), _asked(one), _model(one), _inputs(one), _why(one), _reliable(one))
    yield from (_safeguards(one), _humans(one))
    yield _heading("Holes and caveats", "누락과 유의 사항")
    yield "<p><b>Missing from the record</b></p>" + bullets(one["holes"], "Nothing that should be there is missing.")
    yield "<p><b>To be kept in mind</b></p>" + bullets(one["caveats"], "Nothing in particular.")


def _in_one_sentence(one: Body) -> str:
    items, asked, point = one["decided"]["recommended"], one["asked_by"], one["checkpoint"]
    what = f"recommended <b>{_named(items[0])}</b> first of {len(items)}" if items else "recommended nothing"
    return (
        f'<p class="lead">Version {show(one["model"]["model_version"])} {what}, asked by a '
        f"{show(asked['requester_kind'])} requester over {show(asked['channel'])}. The safety gate said "
        f"{show(one['safeguards']['verdict'])}; delivered: {show(one['decided']['delivered'])}. The entry was fixed by "
        f"checkpoint {point['n']} of {seoul(point['ts'])}, {_after(point['after_us'])} after the event.</p>"
    )


def _after(us: int) -> str:
    seconds = us // 1_000_000
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def _decided(one: Body) -> str:
    said = one["decided"]
    rows = [
        (item["rank"], Html(_named(item)), item["product_id"], item["task"], item["score"], item["propensity"])
        for item in said["recommended"]
    ]
    return (
        _heading("What was decided", "결정 내용")
        + table(["rank", "product", "id", "deciding task", "score", "probability of rank 1"], rows)
        + facts([
            ("Answered by layer", said["layer"]), ("Delivered to the customer", said["delivered"]),
            ("Products that could be offered", said["eligible_n"]), ("Dropped", said["filtered_n"]),
            ("Dropped because", [f"{item['k']} ({item['v']})" for item in said["filter_reasons"] or []]),
            ("Event time", seoul(one["event_time"])),
            ("Checkpoint time", seoul(one["checkpoint"]["ts"])), ("Prediction", one["prediction_id"]),
        ])
    )  # fmt: skip


def _asked(one: Body) -> str:
    said = one["asked_by"]
    return _heading("Who asked and on what basis", "요청자와 근거") + facts([
        ("Requester", said["requester_kind"]), ("Pseudonym of the requester", said["requester_ref"]),
        ("Channel", said["channel"]), ("Terminal", said["terminal_ref"]), ("Reason of access", said["access_reason"]),
        ("Purpose", said["purpose"]), ("Lawful basis", said["lawful_basis"]),
        ("Opt-out, as read first", said["optout_state"]), ("Version of the consent", said["consent_version"]),
        ("What was read", said["fields_read"]),
    ])  # fmt: skip


def _model(one: Body) -> str:
    said = one["model"]
    parts = [_heading("Which model and how it became champion", "사용된 모델과 승격 경위"), facts([
        ("Version", said["model_version"]), ("Manifest of the package", said["manifest_hash"]),
        ("Champion since", seoul(said["champion_since"])), ("The pointer named then", said["pointer_then"]),
        ("Code", said["code_rev"]), ("Settings", said["config_hash"]),
        ("Latest change of dimensions before", said["dimension_change"] or "none recorded"),
    ])]  # fmt: skip
    for verdict in said["verdicts"]:
        parts.append(f"<p><b>Verdict {show(verdict['decision'])}</b> of {seoul(verdict['at'])}</p>")
        parts.append(facts([
            ("Why", verdict["reason"]), ("Started by", verdict["trigger"]), ("Operator", verdict["operator"] or "none"),
            ("Approver", verdict["approver"] or "none"), ("Approvals", verdict["approvals"]),
            ("Served before", verdict["champion_version"] or "nothing"),
        ]))  # fmt: skip
        steps = [
            (step.get("step"), step.get("outcome"), step.get("code") or Html("&ndash;"))
            for step in verdict["gate_path"] or []
        ]
        parts.append(table(["step of the gate", "outcome", "code"], steps))
    return "".join(parts)


def _inputs(one: Body) -> str:
    said = one["inputs"]
    return _heading("Inputs", "입력 정보") + facts([
        ("Fingerprint of the row", said["feature_hash"]), ("Schema", said["feature_schema_version"]),
        ("As of", said["feature_asof"]), ("Columns", said["input_dim"]),
        ("Kept for replay at", said["feature_ref"] or "not kept"),
    ])  # fmt: skip


def _why(one: Body) -> str:
    said = one["why"]
    widest = max((abs(float(item["contribution"])) for item in said["top_features"]), default=0.0)
    rows = [
        (item["rank"], Html(_words(item["words"])), item["feature"], bar(item["contribution"], widest))
        for item in said["top_features"]
    ]
    gates = said["gates"] or []
    heaviest = max((float(gate["w"]) for gate in gates), default=0.0)
    return (
        _heading("Why", "추천 이유")
        + table(["rank", "said to the customer as", "feature", "contribution to the score"], rows)
        + facts([
            ("Task explained", said["task"]), ("Method", said["method"]),
            ("Computed as of", said["source_asof"]), ("By version", said["source_model_version"]),
            ("Base value, rest not explained", [said["base_value"], said["residual"]]),
            ("Fingerprint of the text", said["reason_text_hash"]), ("A language model wrote it", said["llm_used"]),
            *_text_shown(said),
        ])
        + table(["teacher's expert", "weight"], [(gate["expert"], bar(gate["w"], heaviest, "-")) for gate in gates])
    )  # fmt: skip


def _reliable(one: Body) -> str:
    said, ood = one["reliability"], one["reliability"]["ood"] or {}
    return _heading("How reliable", "신뢰 수준") + facts([
        ("Distance from what the model learnt", ood.get("distance")), ("Flagged beyond (then)", ood.get("flag_over")),
        ("Rules answer beyond (then)", ood.get("override_over")), ("Level", ood.get("level")),
        ("Distance of", ood.get("as_of")), ("Spread of the gates over the experts, 0 to 1", said["entropy_share"]),
        ("Reviewed beyond a spread of (then)", said["max_entropy_then"]),
    ])  # fmt: skip


def _safeguards(one: Body) -> str:
    said = one["safeguards"]
    criteria = (said["criteria"] or {}).items()
    rows = [(name, item["verdict"], item["score"], item["threshold"]) for name, item in criteria]
    limits = [(f"{part}: {key}", value) for part, keys in said["limits_then"].items() for key, value in keys.items()]
    before = [(seoul(row["at"]), row["event"], row["object_id"], row["reason"]) for row in said["latest_before"]]
    suit = said["suit"] or {}
    return (
        _heading("Which safeguards ran", "적용된 보호 조치")
        + table(["criterion", "verdict", "score", "threshold then"], rows)
        + facts([
            ("Verdict", said["verdict"]), ("Review tier", said["tier"]),
            ("Suitability", suit.get("verdict")), ("Tolerance of the customer", suit.get("subject_tolerance")),
            ("Highest risk among the products", suit.get("product_risk")),
            ("Conditions of review", suit.get("review_conditions")), ("Notice of AI", said["ai_notice_present"]),
            ("Why each layer answered", said["layer_reasons"]),
            ("Kill switches on", [row["object_id"] for row in said["switches_on"]]),
        ])
        + "<p><b>Latest changes before the answer</b></p>" + table(["when", "what", "of", "why"], before)
        + "<p><b>Limits of the package that answered</b></p>" + (facts(limits) if limits else f"<p>{show(None)}</p>")
    )  # fmt: skip


def _humans(one: Body) -> str:
    said = one["humans"]
    rows = [(seoul(row["at"]), row["event"], row["actor_ref"], row["reason"]) for row in said["events"]]
    late = [(seoul(row["at"]), row["event"], row["reason_text_hash"]) for row in said["explanations"]]
    return (
        _heading("What humans did", "사람의 개입")
        + (table(["when", "what", "who", "why"], rows) if rows else "<p>No review and no request is recorded.</p>")
        + (table(["when", "explanation", "fingerprint of the text"], late) if late else "")
    )


def _subject(body: Body) -> Iterator[str]:
    if body["about_subject"]:
        rows = [(seoul(row["ts"]), row["event"], row["reason"]) for row in body["about_subject"]]
        yield '<h2 class="first">Rights and reviews of the customer, any day</h2>' + table(
            ["when", "what", "why"], rows
        )


def _proof(answer: Answer) -> Iterator[str]:
    body, point, joined = answer.body, answer.body["as_of"], answer.consistency
    proof = body["proof"]
    yield '<h2 class="first">Proof <small>증명</small></h2>'
    yield facts([
        ("Rows that are the entries under their checkpoint", f"{proof['included']} of {proof['rows']}"),
        ("Checkpoint asked as of", f"{point['n']}, {point['size']} entries"), ("Its time", seoul(point["ts"])),
        ("Its root", point["root"]), ("Newest checkpoint", f"{joined['to_ckpt']}, {joined['size']} entries"),
        ("Its root", joined["root"]), ("The newest one continues it", bool(joined["holds"])),
    ])  # fmt: skip
    yield bullets([f"leaf {one['leaf_index']}: {one['why']}" for one in proof["failures"]], "No row differs.")
    yield bullets(body["caveats"], "")
    if answer.rows:
        yield "<p>The folder <code>proof</code> beside this page holds these rows as stored, with their paths to the "
        yield "newest root. <code>python offline_verifier.py bundle.json KEY</code> checks them anywhere.</p>"
    yield "<p>Compare the root with one that was written down elsewhere at the time: nothing on this page can replace "
    yield "that.</p>"
    rows = [
        (one["leaf_index"], one["ckpt_n"], one["event"], seoul(one["ts"]), one["entry_hash"]) for one in body["entries"]
    ]
    yield table(["leaf", "checkpoint", "entry", "time", "hash"], rows)


def _heading(english: str, korean: str) -> str:
    return f"<h3>{english} <small>{korean}</small></h3>"


def _named(item: Body) -> str:
    return _words(item["name"]) if item["name"] else escape(str(item["product_id"]))


def _words(names: Mapping[str, str] | None) -> str:
    if not names:
        return "no words for customers"
    return " / ".join(escape(names[locale]) for locale in ("ko", "en") if locale in names)


def _text_shown(said: Body) -> list[tuple[str, Any]]:
    shown = said["text_shown_is_the_delivered_one"]
    return [] if shown is None else [("The text shown by the customer is the delivered one", shown)]
