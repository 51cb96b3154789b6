"""Customers unlike those the models learnt from, fairness flags, review tiers, Layer 4, clusters, broken rules."""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Callable
from contextlib import closing
from datetime import date, timedelta
from itertools import combinations
from typing import Any

import pytest

from pipeline_lib.serve import ood, rules, scopes, tiers
from pipeline_lib.serve.guardrail import CRITERIA, Finding
from pipeline_lib.serve.layers import Row
from pipeline_lib.serve.ood import Distance
from pipeline_lib.serve.tables import Customer, Switch
from pipeline_lib.serve.tiers import TIERS, FairnessFlag, fairness, review

from .asking import SQL_OPT_OUT, SQL_SWITCH, ask, assessed, change

Body = Callable[..., dict[str, Any]]
DAY = date(2026, 11, 16)


def measure(release: Any, distance: float | None, as_of: date = DAY) -> None:
    """What the teacher said of everybody: limits 7 and 8."""
    facts = {"ood_as_of": as_of.isoformat(), "ood_flag": "7.0", "ood_override": "8.0"}
    with closing(sqlite3.connect(release.tables / "feature_rows.sqlite")) as database, database:
        database.execute("UPDATE feature_row SET ood_distance = ?", (distance,))
        database.execute("UPDATE meta SET body = json_patch(body, ?)", (json.dumps(facts),))


def spread_gates(release: Any, value: float) -> None:
    """Entropy of every task's gates, over ln(experts)."""
    with closing(sqlite3.connect(release.tables / "feature_rows.sqlite")) as database, database:
        found = database.execute("SELECT gates FROM feature_row LIMIT 1").fetchone()[0]
        gates = array("f")
        gates.frombytes(found)
        for i in range(3, len(gates), 4):
            gates[i] = value * 1.0986
        database.execute("UPDATE feature_row SET gates = ?", (gates.tobytes(),))


def layers(body: dict[str, Any]) -> set[int]:
    return {one["layer"] for one in body["tasks"].values()}


@pytest.mark.parametrize(
    ("distance", "level", "all_rules", "conditions"),
    [(6.9, "normal", False, []), (7.0, "normal", False, []), (7.1, "flagged", False, ["one_ood_flag"]),
     (8.1, "override", True, ["one_ood_flag"]), (None, "unknown", False, [])],
)  # fmt: skip
def test_beyond_the_99th_percentile_rules_answer_and_beyond_the_95th_a_person_looks(
    release: Any, request_body: Body, distance: float | None, level: str, all_rules: bool, conditions: list[str]
) -> None:
    measure(release, distance)
    spread_gates(release, 0.5)
    service = release.service()
    assessed(release, service)
    body = ask(service, request_body())[1]
    assert body["flags"]["ood"] == level
    assert (layers(body) == {3}) == all_rules
    assert all_rules == ({one["layer_reason"] for one in body["tasks"].values()} == {"OOD"})
    assert [c for c in body["review"]["conditions"] if "ood" in c] == conditions
    assert not conditions or body["review"]["tier"] == 2
    rows = [line.get("payload", line) for line in release.lines()[-1]]
    assert distance is None or f'"level": "{level}"' in json.dumps(rows)


def test_nothing_is_said_about_the_behaviour_of_who_is_far_out(release: Any, request_body: Body) -> None:
    spread_gates(release, 0.5)
    service = release.service()
    assessed(release, service)

    def said() -> set[str]:
        items = ask(service, request_body())[1]["items"]
        return {one["reason"]["template_id"].split("/")[1] for one in items}

    measure(release, 6.0)
    assert not said() <= {"popularity", "minimum_safe"}
    measure(release, 7.5)
    assert said() <= {"popularity", "minimum_safe"}


def test_two_flags_withhold_everything_and_rules_answer(release: Any, request_body: Body) -> None:
    measure(release, 7.5)
    spread_gates(release, 0.95)
    service = release.service()
    assessed(release, service)
    body = ask(service, request_body())[1]
    assert (body["status"], body["items"], body["review"]["tier"]) == ("withheld_for_review", [], 3)
    assert {one["layer_reason"] for one in body["tasks"].values()} == {"OOD_TWO_FLAGS"}
    assert body["review"]["conditions"][0] == "two_ood_flags"


@pytest.mark.parametrize(("days", "level"), [(0, "override"), (1, "override"), (2, "stale"), (-1, "stale")])
def test_an_old_distance_is_stale_and_never_taken_for_normal(days: int, level: str) -> None:
    assert ood.level(Distance(9.0, 7.0, 8.0, DAY - timedelta(days)), DAY, 24) == level


def test_a_distance_that_is_no_number_is_far_out_and_one_without_limits_is_unknown() -> None:
    assert Distance(float("nan"), 7.0, 8.0, DAY).level(DAY, 24) == ood.OVERRIDE
    assert Distance(9.0, None, None, DAY).level(DAY, 24) == ood.UNKNOWN


PAIRS = [(a,) for a in TIERS] + list(combinations(TIERS, 2)) + [tuple(TIERS)]


@pytest.mark.parametrize("held", PAIRS, ids="+".join)
def test_the_tier_is_that_of_the_gravest_condition_and_all_are_kept(held: tuple[str, ...]) -> None:
    found = review({name: name in held for name in TIERS})
    assert found.tier == max(TIERS[name] for name in held)
    said = set(held) - ({"one_ood_flag"} if "two_ood_flags" in held else set())
    assert set(found.conditions) == said
    assert found.withholds == any(TIERS[name] == 3 for name in held)


def test_no_condition_is_tier_1() -> None:
    assert review(dict.fromkeys(TIERS, False)) == tiers.Review(1, ())


@pytest.mark.parametrize(
    ("flag", "condition"),
    [(FairnessFlag("churn_signal", "gender", "F", "BREACH"), "fairness_breach"),
     (FairnessFlag("*", "gender", "F", "MARGIN"), "fairness_margin"),
     (FairnessFlag("churn_signal", "gender", "M", "BREACH"), None),
     (FairnessFlag("next_mcc", "gender", "F", "BREACH"), None),
     (FairnessFlag("*", "region", "F", "BREACH"), None),
     (FairnessFlag("*", "gender", "F", "OK"), None)],
)  # fmt: skip
def test_a_fairness_flag_counts_for_its_task_and_group_alone(flag: FairnessFlag, condition: str | None) -> None:
    found = fairness([flag], {"gender": "F"}, ["churn_signal"])
    assert [name for name, holds in found.items() if holds] == ([condition] if condition else [])


@pytest.mark.parametrize(("state", "tier", "status"), [("BREACH", 3, "withheld_for_review"), ("MARGIN", 2, "ok")])
def test_the_monitors_flags_reach_the_tier(
    release: Any, request_body: Body, state: str, tier: int, status: str
) -> None:
    change(release, "INSERT INTO fairness_state VALUES ('1', '*', 'gender', 'M', ?)", state)
    change(release, "INSERT INTO fairness_state VALUES ('2', '*', 'gender', 'F', ?)", state)
    service = release.service()
    assessed(release, service)
    body = ask(service, request_body())[1]
    assert (body["review"]["tier"], body["status"]) == (tier, status)
    assert bool(body["items"]) == (state == "MARGIN")


def test_unreadable_fairness_flags_ask_for_a_person(release: Any, request_body: Body) -> None:
    change(release, "DROP TABLE fairness_state")
    service = release.service()
    assessed(release, service)
    body = ask(service, request_body())[1]
    assert (body["review"]["tier"], body["flags"]["degraded"]) == (2, True)
    assert "fairness_unreadable" in body["review"]["conditions"]


def test_fairness_flags_are_read_again_after_a_minute(release: Any) -> None:
    service, seconds = release.service(), [0.0]
    service.tables.clock = lambda: seconds[0]
    assert service.tables.fairness() == ()
    change(release, "INSERT INTO fairness_state VALUES ('1', '*', 'gender', 'M', 'BREACH')")
    seconds[0] = 59.9
    assert service.tables.fairness() == ()
    seconds[0] = 60.0
    assert len(service.tables.fairness()) == 1


def member(*responsibilities: float, valid: float = 1.0) -> Customer:
    columns = (*(f"gmm_prob_{i:02d}" for i in range(len(responsibilities))), "valid_gmm")
    row = Row([*responsibilities, valid], columns, "")
    return Customer(row, DAY, DAY, (), None, None, "EUR", {}, None)


@pytest.mark.parametrize(
    ("customer", "target", "stops"),
    [(member(0.1, 0.9), "1", True), (member(0.1, 0.9), "cluster:01", True), (member(0.1, 0.9), "0", False),
     (member(0.1, 0.9), "*", True), (member(0.1, 0.9), "young", True), (member(0.5, 0.5, valid=0.0), "1", True),
     (member(float("nan"), 0.9), "0", True), (None, "0", True)],
    ids=["its_own", "written_otherwise", "another", "all", "not_understood", "invalid", "undefined", "unknown"],
)  # fmt: skip
def test_a_clusters_switch_stops_its_customers_and_who_may_be_one(
    customer: Customer | None, target: str, stops: bool
) -> None:
    assert (scopes.wide([Switch("s", "cluster", target, "rule_based")], customer) is not None) == stops


def test_layer_4_asks_a_person_only_where_it_is_on_and_rules_are_unsure(release: Any, request_body: Body) -> None:
    change(release, SQL_SWITCH, "sw1", "global", "*", "rule_based")
    service = release.service()
    assessed(release, service)
    assert ask(service, request_body())[1]["status"] == "ok"
    service.policy.serving["layer4"] = {"enabled": True, "conf": 1.0}
    body = ask(service, request_body())[1]
    assert (body["status"], body["items"]) == ("human_fallback", [])
    assert "L4_human" in json.dumps(release.lines()[-1])
    service.policy.serving["layer4"] = {"enabled": True, "conf": 0.01}
    assert ask(service, request_body())[1]["status"] == "ok"


def test_broken_rules_serve_the_static_list_and_are_recorded(
    release: Any, request_body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(rules.RULES, "churn_signal", lambda case: case.row["no such column"])
    body = ask(release.service(), request_body())[1]
    assert body["status"] == "static_content"
    assert {one["layer_reason"] for one in body["tasks"].values()} == {"RULES_BROKEN"}
    assert body["receipt"] is not None
    change(release, SQL_OPT_OUT, release.subject("c5"), None)
    assert ask(release.service(), request_body())[1]["status"] == "static_content"


def test_modelled_tasks_of_healthy_customers_are_answered_on_their_route(release: Any, request_body: Body) -> None:
    service = release.service()
    routed = {t["name"]: int(t["serve_layer"]) for t in service.policy.models.bundle.manifest["tasks"]}
    modelled = [name for name, layer in routed.items() if layer < 3]
    bodies = [ask(service, request_body(customer_id=f"c{i}"))[1] for i in range(1, 41)]
    kept = [body["tasks"][name]["layer"] == routed[name] for body in bodies for name in modelled]
    assert sum(kept) / len(kept) >= 0.99


OUTBOUND = {"channel": "app_push", "access_reason": "self_service", "operator_id": None, "terminal_id": None}
WEB = {**OUTBOUND, "channel": "web"}


def delivered(release: Any) -> tuple[bool, int]:
    """What the record says of the newest answer: shown, and of how many items."""
    rows = {row["header"]["event"]: row["payload"] for row in release.lines()[-1]}
    return rows["guardrail"]["delivered"], len(rows["prediction"]["recommended"])


@pytest.mark.parametrize("ground", ["models answer", "a switch", "cold start", "opted out"])
@pytest.mark.parametrize("channel", [{}, WEB, OUTBOUND], ids=["branch", "web", "app_push"])
def test_what_waits_for_a_review_is_seen_by_a_teller_and_never_sent(
    release: Any, request_body: Body, ground: str, channel: dict[str, Any]
) -> None:
    change(release, "INSERT INTO fairness_state VALUES ('1', '*', 'gender', 'M', 'MARGIN')")
    change(release, "INSERT INTO fairness_state VALUES ('2', '*', 'gender', 'F', 'MARGIN')")
    change(release, "DROP TABLE fairness_state" if ground == "cold start" else "SELECT 1")  # unreadable is tier 2 too
    customer = "c99999" if ground == "cold start" else "c5"
    service = release.service()
    assessed(release, service, customer)
    change(release, "INSERT OR REPLACE INTO contact VALUES (?, 1, 0, 0)", release.subject(customer))
    if ground == "a switch":
        change(release, SQL_SWITCH, "sw1", "global", "*", "rule_based")
    if ground == "opted out":
        change(release, SQL_OPT_OUT, release.subject("c5"), None)
    body = ask(service, request_body(customer_id=customer, **channel))[1]
    assert (body["review"]["tier"], body["review"]["required"]) == (2, True)
    assert delivered(release) == (bool(body["items"]), len(body["items"]))
    assert bool(body["items"]) == (channel is not OUTBOUND)
    if channel is OUTBOUND:
        assert body["status"] == "withheld_for_review"
    elif channel is WEB:
        assert {item["layer"] for item in body["items"]} == {3}


@pytest.mark.parametrize("channel", [{}, WEB, OUTBOUND], ids=["branch", "web", "app_push"])
def test_of_an_answer_with_a_blocked_text_nothing_is_shown(
    release: Any, request_body: Body, channel: dict[str, Any]
) -> None:
    service = release.service()
    assessed(release, service)
    change(release, "INSERT OR REPLACE INTO contact VALUES (?, 1, 0, 0)", release.subject("c5"))
    second = ask(service, request_body())[1]["items"][1]["reason"]["text"]
    check = service.policy.gate.check
    blocked = (Finding("regulatory", False, hits=("guaranteed",)),) * len(CRITERIA)
    service.policy.gate.check = lambda text, evidence: blocked if text == second else check(text, evidence)
    body = ask(service, request_body(**channel))[1]
    assert (body["status"], body["items"], body["review"]["tier"]) == ("withheld_for_review", [], 3)
    assert body["review"]["conditions"][0] == "guardrail_block"
    assert delivered(release) == (False, 0)
