"""One keyed store, two kinds: the same answers from files and from DynamoDB; secrets from the parameter store."""

from __future__ import annotations

import base64
import math
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from pipeline_lib.errors import SecretMissing, SettingsError
from pipeline_lib.items import Items, TableUnreadable, open_items
from pipeline_lib.keys import KeyFolder
from pipeline_lib.publish.tables import FEATURE_TABLES, STATE_TABLES
from pipeline_lib.serve.parameters import open_keys
from pipeline_lib.serve.tables import Stored, Tables

from .stores import PREFIX, copy_keys, make_tables

ROW: dict[str, Any] = {
    "meta_id": "2026-11-01.0", "subject_ref": "s_1", "features": b"\x00\x00\x80?\x00\xff",
    "snapshot_date": "2026-11-01", "held": '["kr"]',
    "age": 64, "income": 29_999_999.1, "protected": "{}", "gates": None,
    "rule_inputs": '{"balance": 1.5}', "ood_distance": 7.25,
}  # fmt: skip


@pytest.fixture(params=["files", "dynamodb"])
def items(request: pytest.FixtureRequest, tmp_path: Path) -> Items:
    if request.param == "dynamodb":
        request.getfixturevalue("aws")
        make_tables()
        return open_items(f"dynamodb:{PREFIX}")
    for name, script in {"feature_rows": FEATURE_TABLES, "state": STATE_TABLES}.items():
        with closing(sqlite3.connect(tmp_path / f"{name}.sqlite")) as database:
            database.executescript(script)
    return open_items(f"file://{tmp_path}")


@pytest.fixture(params=["files", "dynamodb"])
def nowhere(request: pytest.FixtureRequest, tmp_path: Path) -> Items:
    if request.param == "dynamodb":
        request.getfixturevalue("aws")
        return open_items("dynamodb:nobody-")
    return open_items(f"file://{tmp_path}")


def test_an_item_comes_back_exactly(items: Items) -> None:
    items.put("feature_row", ROW)
    assert items.get("feature_row", "s_1") == ROW
    assert items.get("feature_row", "s_2") is None


@pytest.mark.parametrize("number", [0.1, 1 / 3, -1.2758009537404886e-103, 1.7976931348623157e100, -0.25, 7])
def test_a_number_keeps_its_value(items: Items, number: float) -> None:
    items.put("feature_row", {**ROW, "income": number})
    found = items.get("feature_row", "s_1")
    assert found is not None
    assert found["income"] == number


def test_a_second_item_of_a_key_replaces_the_first_whole(items: Items) -> None:
    items.put("suitability", {"subject_ref": "s_1", "tolerance": 3, "assessed_at": "2026-01-01"})
    items.put("suitability", {"subject_ref": "s_1", "tolerance": 1, "assessed_at": None})
    assert items.all("suitability") == [{"subject_ref": "s_1", "tolerance": 1, "assessed_at": None}]


def test_a_missing_table_is_unreadable(nowhere: Items) -> None:
    for act in (
        lambda: nowhere.get("optout", "s_1"),
        lambda: nowhere.all("kill_switch"),
        lambda: nowhere.put("suitability", {"subject_ref": "s_1"}),
    ):
        with pytest.raises(TableUnreadable, match="optout|kill_switch|suitability"):
            act()


@pytest.mark.parametrize(
    ("table", "item", "read"),
    [
        ("contact", {"consent": 1, "do_not_contact": 0, "messages_7d": "many"}, lambda t: t.contact("s_1")),
        ("suitability", {"tolerance": "high", "assessed_at": None}, lambda t: t.assessment("s_1")),
        ("suitability", {"tolerance": 2, "assessed_at": "yesterday"}, lambda t: t.assessment("s_1")),
        ("feature_row", {**ROW, "held": "kr"}, lambda t: t.customer("s_1")),
    ],
)
def test_a_field_of_another_type_is_unreadable(
    items: Items, table: str, item: dict[str, Any], read: Callable[[Tables], Any]
) -> None:
    items.put(table, {"subject_ref": "s_1", **item})
    with pytest.raises(TableUnreadable, match=table):
        read(Tables(items, 0))


def test_an_answer_is_remembered_for_its_hours(items: Items) -> None:
    tables, claim = Tables(items, 0), Stored("d", "", 1_000.5)
    assert tables.stored_answer("k") is None
    assert [tables.claim_answer("k", claim, 48, None) for _ in range(2)] == [True, False]
    tables.store_answer("k", replace(claim, response="{}"), 48)
    assert tables.stored_answer("k") == Stored("d", "{}", 1_000.5)
    old = tables.stored_answer("k")
    assert [tables.claim_answer("k", Stored("e", "", 9_000.0), 48, old) for _ in range(2)] == [True, False]


def test_a_folder_forgets_answers_that_are_past_their_hours(release: Any) -> None:
    tables = release.service().tables
    tables.claim_answer("old", Stored("d", "", 1_000.0), 48, None)
    tables.claim_answer("young", Stored("d", "", 1_001.0), 48, None)
    tables.claim_answer("new", Stored("d", "", 1_000.0 + 48 * 3600), 48, None)
    assert [tables.stored_answer(key) is None for key in ("old", "young", "new")] == [True, False, False]


def test_only_what_may_be_forgotten_expires(aws: str) -> None:
    items = make_tables()
    Tables(items, 0).claim_answer("k", Stored("d", "", 1_000.5), 48, None)
    claimed = boto3.client("dynamodb").get_item(TableName=f"{PREFIX}idempotency", Key={"key": {"S": "k"}})["Item"]
    Tables(items, 0).store_answer("k", Stored("d", "{}", 1_000.5), 48)
    items.put("feature_row", ROW)
    client = boto3.client("dynamodb")
    answer = client.get_item(TableName=f"{PREFIX}idempotency", Key={"key": {"S": "k"}})["Item"]
    assert answer["expires_at"] == claimed["expires_at"] == {"N": str(1_001 + 48 * 3600)}
    row = client.get_item(TableName=f"{PREFIX}feature_row", Key={"subject_ref": {"S": "s_1"}})["Item"]
    assert "expires_at" not in row


def test_what_dynamodb_cannot_hold_is_refused(aws: str) -> None:
    with pytest.raises(TableUnreadable, match="finite number"):
        make_tables().put("feature_row", {**ROW, "income": math.nan})


def test_a_store_that_does_not_answer_is_unreadable(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(TableUnreadable, match=r"bank-optout: .*127\.0\.0\.1"):
        open_items(f"dynamodb:{PREFIX}").get("optout", "s_1")


@pytest.mark.parametrize("url", ["/folder", "file://folder", "dynamodb:", "s3://bucket"])
def test_tables_of_another_form_are_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="serving tables are at"):
        open_items(url)


def test_secrets_are_the_same_from_both_places(aws: str, tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path)
    folder.create_secrets("k-1")
    copy_keys(tmp_path, "/bank/prod")
    found = open_keys("ssm:/bank/prod")
    assert (found.pepper(), found.audit_root("k-1")) == (folder.pepper(), folder.audit_root("k-1"))


@pytest.mark.parametrize(
    ("value", "kind", "why"),
    [
        (base64.b64encode(bytes(32)).decode(), "SecureString", "expected 32 random bytes"),
        (base64.b64encode(bytes(range(16))).decode(), "SecureString", "expected 32 random bytes, found 16"),
        ("no base64!", "SecureString", "Error"),
        (base64.b64encode(bytes(range(32))).decode(), "String", "expected a SecureString"),
    ],
)
def test_a_parameter_that_is_no_secret_is_refused(aws: str, value: str, kind: Any, why: str) -> None:
    boto3.client("ssm").put_parameter(Name="/bank/pepper.key", Value=value, Type=kind)
    with pytest.raises(SecretMissing, match=rf"ssm:/bank/pepper\.key.*{why}"):
        open_keys("ssm:/bank").pepper()


def test_a_missing_parameter_is_named(aws: str) -> None:
    with pytest.raises(SecretMissing, match=r"ssm:/bank/audit-k-9\.key: ParameterNotFound"):
        open_keys("ssm:/bank").audit_root("k-9")


def test_a_path_without_a_slash_is_refused() -> None:
    with pytest.raises(SettingsError, match="ssm:/path"):
        open_keys("ssm:bank")
