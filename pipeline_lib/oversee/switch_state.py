"""The items of the kill switches, where the function reads them on every request. Source: monitoring.md 6.1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipeline_lib.errors import RequestRefused
from pipeline_lib.items import Items
from pipeline_lib.settings import Settings

TABLE = "kill_switch"
RULES, DISABLE = "rule_based", "disable"
EVERYBODY = "*"


@dataclass(frozen=True)
class Switch:
    scope: str
    """global, task or cluster."""
    target: str
    """Name of a task, number of a cluster, * of everybody."""
    fallback: str
    """rule_based; disable: nothing personal at all, for a wide switch."""
    active: bool = True
    version: int = 0
    """How often it was changed."""

    @property
    def switch_id(self) -> str:
        return self.scope if self.scope == "global" else f"{self.scope}:{self.target}"

    @classmethod
    def typed(cls, settings: Settings, scope: str, target: str, fallback: str) -> Switch:
        """As a person names it.

        Raises:
            RequestRefused: no such scope, task, cluster or fallback.
        """
        tasks, clusters = sorted(settings.tasks.tasks), settings.features.mixture.clusters
        good = {
            "global": target == EVERYBODY,
            "task": target in tasks,
            "cluster": target.isascii() and target.isdigit() and int(target) < clusters,
        }
        if scope not in good:
            raise RequestRefused(f"scope is one of {', '.join(good)}, found {scope!r}")
        if not good[scope]:
            expected = {"global": EVERYBODY, "task": ", ".join(tasks), "cluster": f"a number from 0 to {clusters - 1}"}[
                scope
            ]
            raise RequestRefused(f"target of scope {scope} is {expected}, found {target!r}")
        known = (RULES,) if scope == "task" else (RULES, DISABLE)
        if fallback not in known:
            raise RequestRefused(f"fallback of scope {scope} is {' or '.join(known)}, found {fallback!r}")
        return cls(scope, str(int(target)) if scope == "cluster" else target, fallback)


def turned_on(items: Items, wanted: Switch) -> tuple[Switch, bool]:
    """The switch as it is on now, and whether it was before; rules give way to nothing personal at all."""
    while True:
        was = find(items, wanted.switch_id)
        if was and was.active and was.fallback in (wanted.fallback, DISABLE):
            return was, True
        now = replace(wanted, active=True, version=(was.version if was else 0) + 1)
        if swapped(items, now, was.version if was else None):
            return now, False


def swapped(items: Items, now: Switch, was: int | None) -> bool:
    item = {"id": now.switch_id, **asdict(now), "active": int(now.active)}
    return items.swap(TABLE, item, "version", was)


def find(items: Items, switch_id: str) -> Switch | None:
    found = items.get(TABLE, switch_id)
    return of(found) if found else None


def require_active(found: Switch | None, switch_id: str) -> Switch:
    if found is None or not found.active:
        raise RequestRefused(f"{switch_id} is not on; `pipeline switch status` lists what is")
    return found


def of(item: Mapping[str, Any]) -> Switch:
    return Switch(
        str(item["scope"]), str(item["target"]), str(item["fallback"]), bool(item["active"]), int(item["version"])
    )
