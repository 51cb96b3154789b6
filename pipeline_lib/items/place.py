"""The tables of the place, for tools and tasks beside the function; the function itself is told where they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline_lib.errors import SettingsError
from pipeline_lib.items import STATE, Items, SqliteItems, open_items
from pipeline_lib.objects import Objects
from pipeline_lib.settings import Settings

WAIT_S = 5.0
"""For one read or write [s]: nobody waits at a counter for a task."""


@contextmanager
def state(settings: Settings, objects: Objects) -> Iterator[Items]:
    """Oversight's tables where the function reads them: ``PIPELINE_TABLES``, or the store's file.

    Raises:
        ObjectMissing: there is no such file yet.
        TableUnreadable: DynamoDB's region is not known.
    """
    if settings.place.tables:
        yield open_items(settings.place.tables, WAIT_S)
        return
    with filed(objects, settings.source.name, STATE) as items:
        yield items


def writable(settings: Settings) -> Items:
    """As ``state``, to be changed too.

    Raises:
        SettingsError: the store is not a folder of this machine, so what is written to its file would reach nobody.
    """
    root = settings.place.root
    if not settings.place.tables and not root.startswith("file:///"):
        raise SettingsError(f"tables are changed at PIPELINE_TABLES or in a store at file:///folder, found {root!r}")
    return open_items(settings.place.tables or f"{root}/serving/{settings.source.name}", WAIT_S)


@contextmanager
def filed(objects: Objects, dataset: str, name: str) -> Iterator[SqliteItems]:
    """The tables of one file of the store (``FEATURES`` or ``STATE``); of a remote store, of a copy: to be read.

    Raises:
        ObjectMissing: there is no such file.
    """
    path = objects.local_path(f"serving/{dataset}/{name}").resolve()
    with objects.scratch() as folder:
        (folder / name).symlink_to(path)
        yield SqliteItems(folder, WAIT_S)
