"""How long one answer may still take: a soft limit for reading and predicting, a hard one for the record.

Nothing is interrupted. Every read and every append is bounded by a timeout of its own store, and the deadline is
looked at between them and between tasks: past it nothing more is read or predicted, and rules answer. So an answer
is late by at most the one read that was under way. Source: serving.md 3 and 12.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic


class Deadline:
    """Counts from when it is made.

    Args:
        soft_s: when reading and predicting end [s].
        hard_s: when the platform ends the function [s].
    """

    def __init__(self, soft_s: float = inf, hard_s: float = inf, clock: Callable[[], float] = monotonic) -> None:
        self._clock, now = clock, clock()
        self._soft, self._hard = now + soft_s, now + hard_s

    def passed(self) -> bool:
        return self._clock() >= self._soft

    def leaves(self, seconds: float) -> bool:
        """Whether the function lives long enough for something that takes so long [s]."""
        return self._clock() + seconds <= self._hard
