"""Is serving stopped for everybody? Whoever approves a version while it is would release into an incident."""

from __future__ import annotations

from pipeline_lib.errors import ObjectMissing, RequestRefused
from pipeline_lib.items import TableUnreadable
from pipeline_lib.items.place import state
from pipeline_lib.objects import Objects
from pipeline_lib.settings import Settings


def require_not_stopped(settings: Settings, objects: Objects) -> None:
    """Returns nothing; raises RequestRefused while a global kill switch is on, or when that cannot be read.

    The switches are read where the function reads them. It takes an unreadable table as on, and so does this.
    """
    try:
        with state(settings, objects) as items:
            switches = items.all("kill_switch")
        active = sorted(str(one["id"]) for one in switches if one["active"] and one["scope"] == "global")
    except (ObjectMissing, TableUnreadable, KeyError) as error:
        raise RequestRefused(f"the kill switches cannot be read: {type(error).__name__} {error}") from error
    if active:
        raise RequestRefused(f"the global kill switch {', '.join(active)} is on: nothing is approved while it is")
