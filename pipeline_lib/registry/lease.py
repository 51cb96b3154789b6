"""The promotion lock: a lease that keeps two runs from judging or releasing at once.

Nothing is correct because of it: verdicts are create-only and the pointer moves by compare-and-swap. It spares the
loser the work, and says so early. A lease that nobody renews ends by itself; the same holder, come back after a
crash, has it at once. A forced decision takes none: the last explicit human wins, and waits for nobody.
Source: promotion.md section 12.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from pipeline_lib.business_time import utc_now
from pipeline_lib.canonical import canonical_bytes
from pipeline_lib.errors import LockBusy, ObjectMissing, SwapLost
from pipeline_lib.objects import Objects

log = logging.getLogger(__name__)

KEY = "registry/lock/promotion.json"
LONGEST = timedelta(hours=1)
"""No lease is written for longer (``lock_ttl_s`` is minutes): one that ends later was not written here."""


class Lease:
    """Held until ``expires``; ``keep`` is called before each effect."""

    def __init__(self, objects: Objects, holder: str, ttl_s: int, now: datetime) -> None:
        self._objects, self._holder, self._ttl_s, self._now = objects, holder, ttl_s, now
        self._expires: datetime | None = None

    def keep(self) -> None:
        """Make sure that it is still ours, renewing it when a quarter of its time has passed.

        Raises:
            LockBusy: it is somebody else's.
        """
        now = max(utc_now(), self._now)
        if self._expires is not None and self._expires - now > timedelta(seconds=0.75 * self._ttl_s):
            return
        tag = self._free(now)
        self._expires = now + timedelta(seconds=self._ttl_s)
        self._write(tag, self._holder, self._expires)

    def drop(self) -> None:
        """Give it back; one that was lost meanwhile is left alone."""
        try:
            self._write(self._free(max(utc_now(), self._now)), None, utc_now())
        except LockBusy:
            return

    def _free(self, now: datetime) -> str | None:
        """Tag of the lock's object when it is ours to take."""
        try:
            data, tag = self._objects.get_tagged(KEY)
        except ObjectMissing:
            return None
        holder, expires = _read(data)
        if holder not in (None, self._holder) and now < expires < now + LONGEST:
            raise LockBusy(f"{KEY}: held by {holder} until {expires.isoformat()}, wanted by {self._holder}")
        return tag

    def _write(self, tag: str | None, holder: str | None, expires: datetime) -> None:
        try:
            self._objects.swap(KEY, canonical_bytes({"holder": holder, "expires_at": expires.isoformat()}), tag)
        except SwapLost as lost:
            raise LockBusy(f"{KEY}: taken by another while {self._holder} asked") from lost


def _read(data: bytes) -> tuple[str | None, datetime]:
    """Holder and end; a lock that cannot be read is held by nobody, since nothing is correct because of it."""
    try:
        found = json.loads(data)
        return found["holder"], datetime.fromisoformat(found["expires_at"]).astimezone(UTC)
    except (ValueError, KeyError, TypeError) as error:
        log.error("%s cannot be read, it is taken as free: %s", KEY, error)
        return None, datetime.min.replace(tzinfo=UTC)


@contextmanager
def held(objects: Objects, holder: str, ttl_s: int, now: datetime | None = None) -> Iterator[Lease]:
    """The lock for the time of the block.

    Args:
        holder: what is being done, the same for a repetition of it: a run, a decision.
        ttl_s: ``promotion.lock_ttl_s`` [s].
        now: the moment of asking, when the caller has one.

    Raises:
        LockBusy: somebody else has it.
    """
    lease = Lease(objects, holder, ttl_s, now or utc_now())
    lease.keep()
    try:
        yield lease
    finally:
        lease.drop()
