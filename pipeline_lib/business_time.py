"""The bank's calendar: weeks and quarters in Asia/Seoul, whatever zone the caller thinks in.

Airflow's dates are UTC: Monday 03:00 in Seoul is Sunday 18:00 UTC, so a run's date is computed here, once.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

SEOUL = ZoneInfo("Asia/Seoul")
PROMOTION_HOUR = 3


def run_date(moment: datetime) -> date:
    """The Seoul calendar date of a run. ``moment`` must carry a time zone."""
    if moment.tzinfo is None:
        raise ValueError(f"a run's moment needs a time zone, found {moment!r}")
    return moment.astimezone(SEOUL).date()


def promotion_moment(day: date) -> datetime:
    """03:00 Seoul on that day."""
    return datetime(day.year, day.month, day.day, PROMOTION_HOUR, tzinfo=SEOUL)


def last_promotion_day(now: datetime) -> date:
    """The most recent Monday whose 03:00 in Seoul is not after ``now``."""
    today = run_date(now)
    monday = today - timedelta(days=today.weekday())
    return monday if promotion_moment(monday) <= now else monday - timedelta(days=7)


def quarter_label(day: date) -> str:
    """``2026-Q4`` for 2026-11-23."""
    return f"{day.year}-Q{(day.month - 1) // 3 + 1}"


def previous_quarter(day: date) -> str:
    """The quarter that ended before the one ``day`` lies in."""
    first = date(day.year, 3 * ((day.month - 1) // 3) + 1, 1)
    return quarter_label(first - timedelta(days=1))


def quarter_bounds(label: str) -> tuple[datetime, datetime]:
    """[from, to) in UTC of a Seoul calendar quarter; 2026-Q3 is 2026-06-30T15:00Z .. 2026-09-30T15:00Z."""
    year, quarter = int(label[:4]), int(label[-1])
    if label != f"{year}-Q{quarter}" or not 1 <= quarter <= 4:
        raise ValueError(f"a quarter is written 2026-Q3, found {label!r}")
    start = datetime(year, 3 * quarter - 2, 1, tzinfo=SEOUL)
    end = datetime(year + quarter // 4, 3 * quarter % 12 + 1, 1, tzinfo=SEOUL)
    return start.astimezone(UTC), end.astimezone(UTC)


def utc_now() -> datetime:
    return datetime.now(UTC)
