"""The bank's calendar: snapshots on the 28th, and the event window that ends with each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from pipeline_lib.errors import SettingsError

SNAPSHOT_DAY = 28


@dataclass(frozen=True)
class Month:
    """``index`` 0 is the first snapshot; burn-in months are negative."""

    index: int
    snapshot: date

    @property
    def first_day(self) -> date:
        """The window of events is (snapshot before, this snapshot]: this is its first day."""
        return shifted(self.snapshot, -1) + timedelta(days=1)

    @property
    def days(self) -> int:
        return (self.snapshot - self.first_day).days + 1


def month(start: date, index: int) -> Month:
    return Month(index, shifted(start, index))


def published(start: date, logical_date: date, at_least: int) -> int:
    """Number of snapshots on or before the logical date.

    Raises:
        SettingsError: ``start`` is not on the 28th, or there are fewer snapshots than ``at_least``.
    """
    if start.day != SNAPSHOT_DAY:
        raise SettingsError(f"world_start must be on the {SNAPSHOT_DAY}th, found {start}")
    count = 12 * (logical_date.year - start.year) + logical_date.month - start.month
    count += int(logical_date.day >= SNAPSHOT_DAY)
    if count < at_least:
        needed = shifted(start, at_least - 1)
        raise SettingsError(
            f"the synthetic bank opens on {start}: {max(count, 0)} snapshots up to {logical_date}, "
            f"{at_least} needed; the first usable logical date is {needed}"
        )
    return count


def shifted(day: date, months: int) -> date:
    """The 28th, ``months`` later."""
    total = 12 * day.year + day.month - 1 + months
    return date(total // 12, total % 12 + 1, day.day)
