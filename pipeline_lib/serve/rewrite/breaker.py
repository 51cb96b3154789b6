"""A provider that failed several times in a row is left alone for a while; one per function instance."""

from __future__ import annotations

import time
from collections.abc import Callable


class Breaker:
    """Args: failures: so many in a row open it. pause_s: then nobody asks for so long; after it one may try [s]."""

    def __init__(self, failures: int, pause_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._pause, self._clock = failures, pause_s, clock
        self._failed, self._until = 0, 0.0

    @property
    def open(self) -> bool:
        return self._failed >= self._limit and self._clock() < self._until

    def failed(self) -> None:
        self._failed += 1
        self._until = self._clock() + self._pause

    def answered(self) -> None:
        self._failed = 0
