from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.errors import SettingsError
from pipeline_lib.ingest.synthetic.months import month, published

START = date(2025, 6, 28)


@given(index=st.integers(-30, 200))
def test_event_windows_tile_the_calendar(index: int) -> None:
    now, then = month(START, index), month(START, index + 1)
    assert then.first_day == now.snapshot + timedelta(days=1)
    assert now.first_day + timedelta(days=now.days - 1) == now.snapshot


@given(days=st.integers(0, 3000))
def test_published_snapshots_are_those_not_after_the_logical_date(days: int) -> None:
    logical = START + timedelta(days=days)
    count = published(START, logical, 0)
    assert month(START, count - 1).snapshot <= logical < month(START, count).snapshot


def test_too_few_months_are_refused_with_the_first_usable_date() -> None:
    assert published(START, date(2026, 10, 28), 17) == 17
    with pytest.raises(SettingsError, match="16 snapshots up to 2026-10-27, 17 needed.*2026-10-28"):
        published(START, date(2026, 10, 27), 17)


def test_a_world_that_does_not_start_on_the_28th_is_refused() -> None:
    with pytest.raises(SettingsError, match="on the 28th, found 2025-06-30"):
        published(date(2025, 6, 30), date(2026, 10, 28), 1)
