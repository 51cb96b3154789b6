"""Is serving stopped for everybody? Whoever approves a version while it is would release into an incident."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from pipeline_lib.errors import ObjectMissing, RequestRefused
from pipeline_lib.objects import Objects

ACTIVE = "SELECT id FROM kill_switch WHERE active = 1 AND scope = 'global' ORDER BY id"


def require_not_stopped(objects: Objects, dataset: str) -> None:
    """Returns nothing; raises RequestRefused while a global kill switch is on, or when that cannot be read.

    Serving reads an unreadable table as on, and so does this.
    """
    key = f"serving/{dataset}/state.sqlite"
    try:
        path = objects.local_path(key)
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            active = [str(row[0]) for row in database.execute(ACTIVE)]
    except (ObjectMissing, sqlite3.Error) as error:
        raise RequestRefused(f"the kill switches cannot be read ({key}): {error}") from error
    if active:
        raise RequestRefused(f"the global kill switch {', '.join(active)} is on: nothing is approved while it is")
