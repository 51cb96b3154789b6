"""Request bodies for fuzzing: valid ones, valid ones with something changed, and anything JSON can say."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

TASKS = ("churn_signal", "nba_primary", "product_stability")
CHANNELS = ("branch", "app_push", "email", "sms", "web")
ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=70)
"""Control characters and halves of surrogate pairs included."""
PRINTABLE = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=64).filter(str.isprintable)
NUMBERS = st.integers() | st.floats() | st.sampled_from([1.0, 2.0, 5.0, -0.0, 1e308, 10**30, True, False])
JSON = st.recursive(
    st.none() | NUMBERS | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)
DAYS = st.sampled_from(["2026-11-16", "20261116", "2026-W47-1", "2026-11-31", "2026-11-16T00:00", "", "yesterday"])
EDGES: tuple[Any, ...] = (
    None, True, False, 0, 1, 5, 6, -1, 1.5, 2.0, 5.0, float("nan"), float("inf"), 10**30, "", " ", "x", "x" * 64,
    "x" * 65, "a\nb", "a\x00", "\u00a0", "\u200b", "\u202e", "\ue000", "\ud800", "é", "가", "😀" * 64, "😀" * 65,
    "branch", "web", "2026-11-16",
    "20261116", [], {}, [None], [1], ["x"], ["churn_signal"], ["components", "components"], [["x"]],
    {"locale": "ko"}, {"locale": None}, {"session_id": ""}, {"session_id": "a\tb"}, {"as_of": "2026-11-31"}, {"x": 1},
)  # fmt: skip
"""Values at the edge of what some field allows."""
NAMES = (
    "customer_id", "channel", "access_reason", "operator_id", "terminal_id", "k", "tasks", "include",
    "idempotency_key", "context", "locale", "as_of",
)  # fmt: skip


def valid(customer: st.SearchStrategy[str] = PRINTABLE) -> st.SearchStrategy[dict[str, Any]]:
    """Bodies that are to be answered."""
    optional = PRINTABLE | st.none()
    context = st.fixed_dictionaries(
        {}, optional={"session_id": PRINTABLE, "locale": st.sampled_from(["ko", "en"]), "as_of": st.just("2026-11-16")}
    )
    reasons = st.sampled_from(["branch_initiated", "self_service", "batch_scoring"])
    rest: dict[str, st.SearchStrategy[Any]] = {
        "k": st.integers(1, 5) | st.none(),
        "tasks": st.lists(st.sampled_from(TASKS), max_size=4) | st.none(),
        "include": st.lists(st.sampled_from(["predictions", "components", "attribution"]), max_size=3),
        "idempotency_key": optional,
        "context": context,
    }
    asked = {"customer_id": customer, "access_reason": reasons}
    branch = {**asked, "channel": st.just("branch"), "operator_id": PRINTABLE, "terminal_id": PRINTABLE}
    other = {**asked, "channel": st.sampled_from(CHANNELS[1:])}
    named = {"operator_id": optional, "terminal_id": optional}
    return st.fixed_dictionaries(branch, optional=rest) | st.fixed_dictionaries(other, optional={**rest, **named})


def changed(customer: st.SearchStrategy[str] = PRINTABLE) -> st.SearchStrategy[dict[str, Any]]:
    """A valid body with one or two fields replaced, added, emptied or taken away."""
    gone = object()
    values = (
        JSON | PRINTABLE | DAYS | st.just(gone) | st.sampled_from(CHANNELS)
        | st.fixed_dictionaries({}, optional={"as_of": DAYS | JSON, "locale": ANY_TEXT, "mood": JSON})
        | st.lists(st.sampled_from([*TASKS, "predictions", "no_such_task", 1, None]), max_size=3)
    )  # fmt: skip
    changes = st.dictionaries(st.sampled_from(NAMES) | ANY_TEXT, values, min_size=1, max_size=2)

    def put(pair: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
        return {name: value for name, value in {**pair[0], **pair[1]}.items() if value is not gone}

    return st.tuples(valid(customer), changes).map(put)


def texts(customer: st.SearchStrategy[str]) -> st.SearchStrategy[str | bytes]:
    """Bodies as they are sent: JSON, broken JSON, doubled keys, depth, size, bytes."""
    written = (valid(customer) | changed(customer) | JSON).map(json.dumps)
    cut = st.tuples(written, st.integers(0, 40)).map(lambda pair: pair[0][: -pair[1] or None])
    doubled = valid(customer).map(lambda body: json.dumps(body)[:-1] + ', "channel": "web"}')
    deep = st.integers(1, 6000).map(lambda depth: '{"k": ' + "[" * depth + "]" * depth + "}")
    huge = st.integers(1, 9000).map(lambda digits: '{"k": ' + "9" * digits + "}")
    long = st.integers(16_000, 17_000).map(lambda size: '{"k": "' + "x" * size + '"}')
    encoded = written.map(lambda text: text.encode("utf-16"))
    return written | cut | doubled | deep | huge | long | encoded | st.binary(max_size=40) | ANY_TEXT
