"""Canonical bytes, keys, signatures, dates and statements."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib import business_time, signing, sql
from pipeline_lib.canonical import canonical_bytes, decimal_text, digest
from pipeline_lib.errors import SecretMissing, SignatureInvalid
from pipeline_lib.keys import KeyFolder, subject_ref

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner) | st.dictionaries(st.from_regex("[a-z0-9_]+", fullmatch=True), inner),
)


@given(plain)
def test_canonical_bytes_read_back_to_the_same_bytes(value: object) -> None:
    data = canonical_bytes(value)
    assert canonical_bytes(json.loads(data)) == data


@given(st.dictionaries(st.from_regex("[a-z0-9_]+", fullmatch=True), st.integers(0, 9)))
def test_key_order_does_not_matter(value: dict[str, int]) -> None:
    assert digest(value) == digest(dict(reversed(value.items())))


@pytest.mark.parametrize("value", [1.0, float("nan"), {1: 2}, {"a": b"x"}, 2**53, "a\0b", "\ud800"])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        canonical_bytes(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.125, "0.125000000"),
        (1e-7, "0.000000100"),
        (-0.0, "0.000000000"),
        (3, "3.000000000"),
        (0.0000000005, "0.000000000"),
        (None, None),
    ],
)
def test_reals_are_decimal_text(value: float | None, text: str | None) -> None:
    assert decimal_text(value) == text


def test_composed_and_decomposed_text_are_the_same_record() -> None:
    assert canonical_bytes("é") == canonical_bytes("e\u0301")


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    folder = KeyFolder(tmp_path / "keys")
    folder.create_secrets("k-test-01")
    signing.create_keys(folder)
    return folder


def test_making_keys_twice_keeps_the_first(keys: KeyFolder) -> None:
    before = {p.name: p.read_bytes() for p in keys.folder.iterdir()}
    keys.create_secrets("k-test-01")
    signing.create_keys(keys)
    assert {p.name: p.read_bytes() for p in keys.folder.iterdir()} == before


def test_secrets_are_readable_by_their_owner_only(keys: KeyFolder) -> None:
    assert all(p.stat().st_mode & 0o077 == 0 for p in keys.folder.glob("*.key"))
    assert all(p.stat().st_mode & 0o077 == 0 for p in keys.folder.glob("*.pem"))


def test_a_secret_has_no_default(tmp_path: Path) -> None:
    with pytest.raises(SecretMissing, match=r"audit-k\.key.*keys init"):
        KeyFolder(tmp_path).audit_root("k")


@pytest.mark.parametrize("data", [b"", b"short", b"\0" * 32])
def test_a_weak_secret_is_refused(keys: KeyFolder, data: bytes) -> None:
    (keys.folder / "pepper.key").write_bytes(data)
    with pytest.raises(SecretMissing):
        keys.pepper()


def test_a_signature_is_for_its_bytes_and_purpose(keys: KeyFolder) -> None:
    signature = signing.sign(keys, "package", b"manifest")
    signing.verify(keys, "package", b"manifest", signature)
    for purpose, data in (("package", b"manifesu"), ("pointer", b"manifest")):
        with pytest.raises(SignatureInvalid):
            signing.verify(keys, purpose, data, signature)


def test_a_pseudonym_depends_on_the_pepper() -> None:
    assert subject_ref(b"a" * 32, "12") == subject_ref(b"a" * 32, "12")
    assert subject_ref(b"a" * 32, "12") != subject_ref(b"b" * 32, "12")


def test_monday_in_seoul_is_sunday_in_utc() -> None:
    moment = datetime(2026, 11, 15, 18, 0, tzinfo=UTC)
    assert business_time.run_date(moment) == date(2026, 11, 16)
    assert business_time.last_promotion_day(moment) == date(2026, 11, 16)
    assert business_time.last_promotion_day(datetime(2026, 11, 15, 17, 59, tzinfo=UTC)) == date(2026, 11, 9)


def test_a_quarter_is_a_seoul_quarter() -> None:
    start, end = business_time.quarter_bounds("2026-Q3")
    assert (start.isoformat(), end.isoformat()) == ("2026-06-30T15:00:00+00:00", "2026-09-30T15:00:00+00:00")
    assert business_time.quarter_bounds("2026-Q4")[1].isoformat() == "2026-12-31T15:00:00+00:00"
    assert business_time.previous_quarter(date(2026, 1, 2)) == "2025-Q4"
    with pytest.raises(ValueError, match="2026-Q3"):
        business_time.quarter_bounds("2026Q3")


@pytest.mark.parametrize("name", sql.names())
def test_every_statement_says_its_grain(name: str) -> None:
    assert sql.load(name).text.startswith("-- ")
    assert "Grain:" in sql.load(name).text.split("\n\n")[0] or "Grain:" in sql.load(name).text
