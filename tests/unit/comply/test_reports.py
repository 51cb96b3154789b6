"""What holds for each of the five reports, found by listing the package."""

import ast
import importlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib import sql
from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.comply import on_promotion, render
from tests.unit.comply.bank import KINDS, STRANGER, Bank, number

REPO = Path(__file__).resolve().parents[3]


def test_package_policy_and_dag_name_the_same_five(bank: Bank) -> None:
    tree = ast.parse((REPO / "dags" / "quarterly_compliance.py").read_text())
    assigned = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    assert sorted(ast.literal_eval(assigned["KINDS"])) == KINDS
    assert sorted(bank.settings.compliance.reports) == KINDS
    assert len(KINDS) == 5
    assert set(on_promotion.KINDS) < set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_has_its_sections_in_the_order_of_its_policy(
    bank: Bank, made: dict[str, dict[str, Any]], kind: str
) -> None:
    policy = {str(name): one for name, one in bank.settings.compliance.reports.items()}[kind]
    assert importlib.import_module(f"pipeline_lib.comply.reports.{kind}").KIND == kind == made[kind]["generator"]
    assert [(item["id"], item["title"]) for item in made[kind]["items"]] == list(policy.sections.items())


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_points_at_a_statement_and_its_rows(made: dict[str, dict[str, Any]], kind: str) -> None:
    evidence = {one["query_id"]: one for one in made[kind]["evidence"]}
    for item in made[kind]["items"]:
        names = [one["name"] for one in item["numbers"]]
        assert len(set(names)) == len(names), item["id"]
        for one in item["numbers"]:
            pointer = evidence[one["query_id"]]
            assert pointer["sql_sha256"] == sql.load(f"comply/{one['query_id']}").digest
            assert len(pointer["rows_sha256"]) == 64
            assert pointer["rows"] >= (1 if one["value"] not in (0, None) else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_section_is_computed_or_says_what_was_looked_for(made: dict[str, dict[str, Any]], kind: str) -> None:
    for item in made[kind]["items"]:
        if item["status"] == "UNKNOWN":
            assert item["score"] is item["level"] is None
            assert item["looked_for"]
            assert all(len(text) > 10 for text in item["looked_for"])
        else:
            assert item["numbers"]
            assert all(one["value"] is not None for one in item["numbers"])
            assert item["looked_for"] == []
        if item["score"]:
            assert 0 <= Decimal(item["score"]) <= 1
    complete = all(item["status"] == "OK" for item in made[kind]["items"])
    assert made[kind]["overall"]["complete"] is complete


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_shows_every_value_and_every_gap_of_its_body(made: dict[str, dict[str, Any]], kind: str) -> None:
    page = render.markdown(made[kind])
    for item in made[kind]["items"]:
        assert f"## {item['id']} {item['title']}" in page
        assert all(f"- {text}\n" in page for text in item["looked_for"])
        for one in item["numbers"]:
            assert f"| {one['name']} | {'unknown' if one['value'] is None else one['value']} |" in page
    assert all(f"sql/comply/{one['query_id']}.sql" in page for one in made[kind]["evidence"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_body_is_in_its_one_form(bank: Bank, results: dict[str, dict[str, Any]], kind: str) -> None:
    data = bank.bytes_of(results[kind])
    assert canonical_bytes(json.loads(data)) + b"\n" == data


def test_every_statement_is_asked_by_some_report(made: dict[str, dict[str, Any]]) -> None:
    asked = {one["query_id"] for report in made.values() for one in report["evidence"]}
    assert {f"comply/{name}" for name in asked} == {name for name in sql.names() if name.startswith("comply/")}


def test_what_was_recorded_is_what_is_printed(bank: Bank, made: dict[str, dict[str, Any]]) -> None:
    champion = bank.world.seen.version
    fria, pia, disclosure = made["korean_fria"], made["pia"], made["public_disclosure"]
    assert number(made["annex_iv"], "A1", "version")["value"] == champion
    assert number(disclosure, "S1", "predictions")["value"] == 64
    assert number(disclosure, "S1", "by rules")["value"] == 1
    despite = number(fria, "K2", "share of model answers despite opt-out")
    assert (despite["num"], despite["den"], despite["value"]) == (1, 63, "0.015873")
    untraced = number(fria, "K7", "share of model answers not traced to verdict, data and settings")
    assert (untraced["num"], untraced["den"]) == (1, 63), STRANGER
    assert number(fria, "K4", "share delivered without explanation")["num"] == 0
    assert number(fria, "K4", "share delivered without explanation")["den"] == 62
    assert number(fria, "K3", "comparisons")["value"] == 2
    assert number(pia, "D2", "share of answers with an incomplete record")["num"] == 0
    assert number(pia, "D1", "accesses that name no lawful basis")["value"] == 64
    verdicts = {one["name"]: one["value"] for one in made["annex_iv"]["items"][10]["numbers"]}
    assert (verdicts["sent to a human"], verdicts["promoted"], verdicts["forced"]) == (1, 1, 0)


def test_an_auc_is_printed_as_the_gate_measured_it(bank: Bank, made: dict[str, dict[str, Any]]) -> None:
    decision = bank.world.seen.pointer.decision_id  # type: ignore[union-attr]
    rows = bank.world.stored(decision).decision.body["comparison"]
    primary = {row["metric"]: row["challenger"] for row in rows}["avg_auc"]
    printed = number(made["public_disclosure"], "S2", "avg_auc")["value"]
    assert abs(Decimal(printed) - Decimal(primary)) <= Decimal("0.0000005")
