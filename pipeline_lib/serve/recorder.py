"""The chain of one function instance: opened at the first answer, left when it stopped.

What may or may not have become durable is never written again elsewhere: the record would hold one answer twice. So
the request whose append failed stays without a receipt, and the next one opens another chain. Only where the place
in the chain was somebody else's are the entries known not to be there, and then they go to a new chain at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from pipeline_lib.audit.log import Writer
from pipeline_lib.audit.segment import Entry
from pipeline_lib.audit.sinks import Spill
from pipeline_lib.errors import AppendFailed, PlaceTaken, SecretMissing
from pipeline_lib.keys import Keys
from pipeline_lib.objects import Objects, open_objects
from pipeline_lib.records import Receipt

log = logging.getLogger(__name__)


def worst_append_s(policy: Mapping[str, Any]) -> float:
    """How long an append may take when both stores hang [s]: nothing is tried again once a store has let its own
    timeout pass, so at most one store's timeout is used up before the last try, which asks both.
    """
    return 3 * int(policy["append_timeout_ms"]) / 1000


class Recorder:
    """Appends entries.

    Args:
        place: names origin and key.
        patience_s: after which nothing is tried again [s].
    """

    def __init__(self, store: Objects, place: Mapping[str, str], keys: Keys, patience_s: float = inf) -> None:
        self._store, self._place, self._keys, self._patience_s = store, place, keys, patience_s
        self._writer: Writer | None = None

    def __call__(self, entries: Sequence[Entry]) -> Receipt:
        """Raises AppendFailed when nothing is known to be durable."""
        until = time.monotonic() + self._patience_s
        if self._writer is None:
            self._writer = self._opened(until)
        try:
            return self._writer.append(entries, until)
        except PlaceTaken as error:
            log.warning("the chain was stopped, opening another: %s", error)
            self._writer = None
            self._writer = self._opened(until)
            return self._writer.append(entries, until)
        except AppendFailed:
            self._writer = None
            raise

    def _opened(self, until: float) -> Writer:
        origin, key_id = self._place["ORIGIN"], self._place["KEY_ID"]
        try:
            return Writer.open(self._store, self._keys, origin=origin, key_id=key_id, service="serve", until=until)
        except SecretMissing as error:  # there at the start, gone since
            raise AppendFailed(f"no chain can be opened: {error}") from error


def open_sink(first: str, second: str | None, timeout_s: float) -> Objects:
    """Where entries go: the first store, and the second one when it does not take them.

    Raises:
        StoreError: one of them is no store.
    """
    store = open_objects(first, timeout_s)
    return Spill(store, open_objects(second, timeout_s)) if second else store
