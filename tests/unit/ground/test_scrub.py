"""What a person types may not carry a customer into the record."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.scrub import scrub, scrub_ticket


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("complaint of customer 4711, see mail", "complaint of customer [removed], see mail"),
        ("C00012345 called", "C[removed] called"),
        ("ask kim.min-ji@bank.co.kr first", "ask [removed] first"),
        ("call 010-1234-5678 or 02 555 123", "call [removed] or [removed]"),
        ("call +82 10 1234 5678", "call [removed]"),
        ("seen by s_0123456789abcdef", "seen by [removed]"),
        (" breach on lending since 02:40 ", "breach on lending since 02:40"),
        ("v20261109-1a2b3c4d is worse by 3.5 %", "v20261109-1a2b3c4d is worse by 3.5 %"),
    ],
)
def test_customers_are_taken_out_and_the_sentence_stays(typed: str, kept: str) -> None:
    assert scrub(typed) == kept


@given(st.text(alphabet="ab 0189-@.+", max_size=40))
def test_scrubbing_leaves_no_long_number(typed: str) -> None:
    done = scrub(typed)
    assert not any(done[i : i + 4].isdigit() for i in range(len(done) - 3))


def test_only_a_key_of_the_ticket_system_stays() -> None:
    assert scrub_ticket("INC-48213") == "INC-48213"
    assert scrub_ticket("INC-48213 of customer 99887766") == "INC-[removed] of customer [removed]"
