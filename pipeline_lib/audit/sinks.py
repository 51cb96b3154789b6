"""A record kept in two places: what the first store does not take, the second one does, and readers see both.

The identical object goes to the second store: same key, same bytes, same chain. So it does not matter whether the
first one had it after all, and nothing has to be brought over before it can be verified or loaded. Only a chain
that one process writes may be continued like that; what locks by being created once (``append_once``) needs one
store, so there the second one is read and never written. Source: audit.md 4.5, "second sink".
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from pipeline_lib.errors import ObjectExists, ObjectMissing, StoreError
from pipeline_lib.objects import Objects

log = logging.getLogger(__name__)
AWAY_S = 5.0
"""After a failure the first store is asked last for so long, or every answer would wait for it [s]."""


class Both(Objects):
    """The evidence of two stores as one; what is created goes to the first. Only ``create``, ``get`` and ``list``."""

    def __init__(self, first: Objects, second: Objects) -> None:
        self._first, self._second = first, second
        self.url = f"{first.url} + {second.url}"

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        try:
            return self._first.get_tagged(key)
        except ObjectMissing:
            return self._second.get_tagged(key)

    def list(self, prefix: str) -> list[str]:
        return sorted({*self._first.list(prefix), *self._second.list(prefix)})

    def create(self, key: str, data: bytes) -> None:
        self._first.create(key, data)

    def put(self, key: str, data: bytes) -> None:
        raise self._refused("put")

    def swap(self, key: str, data: bytes, tag: str | None) -> None:
        raise self._refused("swap")

    def delete(self, key: str) -> None:
        raise self._refused("delete")

    def put_file(self, key: str, path: Path) -> None:
        raise self._refused("put_file")

    def local_path(self, key: str) -> Path:
        raise self._refused("local_path")

    def scratch(self) -> AbstractContextManager[Path]:
        raise self._refused("scratch")

    def _refused(self, what: str) -> StoreError:
        return StoreError(f"{self.url}: evidence is created and read, {what} is not for it")


class Spill(Both):
    """For the chain of one process: ``create`` succeeds when either store has the object."""

    def __init__(self, first: Objects, second: Objects, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(first, second)
        self._clock, self._away_until, self._unknown = clock, float("-inf"), ""

    def create(self, key: str, data: bytes) -> None:
        """Raises ObjectExists for other bytes under the key, StoreError when neither store is known to have it."""
        stores = [self._first, self._second]
        if self._clock() < self._away_until:
            stores.reverse()
        try:
            return stores[0].create(key, data)
        except ObjectExists as error:
            if key == self._unknown:  # an earlier attempt may have reached the other store
                raise StoreError(f"{key}: {error}") from error
            raise
        except (StoreError, OSError) as error:
            log.warning("%s does not take %s, trying the other store: %s", stores[0].url, key, error)
            self._unknown = key
            if stores[0] is self._first:
                self._away_until = self._clock() + AWAY_S
        try:
            stores[1].create(key, data)
        except ObjectExists as error:  # not ours: but whether ours is in the other store is not known
            raise StoreError(f"{key}: {error}") from error
