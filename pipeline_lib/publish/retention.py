"""What stays published: the champion, those before it, and whatever a decision still wants. The rest goes after a day.

A version that was withdrawn stays in the registry; serving it again publishes it again. Source: promotion.md 2, 12.
"""

from __future__ import annotations

from datetime import timedelta

from pipeline_lib.objects import Objects
from pipeline_lib.publish.steps import Releaser, took_effect
from pipeline_lib.registry import decisions, states
from pipeline_lib.registry.pointer import Seen


def tidy(here: Releaser, seen: Seen) -> list[str]:
    """Withdraw what nothing refers to; returns what was withdrawn, in words."""
    policy, published = here.settings.promotion, here.target.published()
    old = {v for v, since in published.items() if here.now - since > timedelta(hours=policy.orphan_hours)}
    if not old:
        return []
    wanted = {seen.version, here.target.serving(), *last_champions(here.objects, policy.keep_published)}
    waiting = [s.decision for s in decisions.open_changes(here.objects) if not took_effect(here.objects, s.decision)]
    wanted |= {decision.challenger_version for decision in waiting}
    for version in sorted(old - wanted):
        here.target.withdraw(version)
    return [f"withdrew {version} from {here.target.name}" for version in sorted(old - wanted)]


def last_champions(objects: Objects, count: int) -> list[str]:
    """Versions that were champion, the one of the newest reign first."""
    reigns: dict[str, str] = {}
    for version in states.listed(objects):
        starts = [step["at"] for step in states.read(objects, version)["history"] if step["to"] == "champion"]
        if starts:
            reigns[version] = max(starts)
    return sorted(reigns, key=lambda version: reigns[version], reverse=True)[:count]
