"""Do like customers hear like reasons? Agreement of the explanations of one task, product and segment in a window.

``cosine`` is the mean over all pairs of answers, by feature name: 1 the same reasons, 0 nothing in common, below 0
opposite ones. ``top_share`` is the share of answers whose strongest feature is the most frequent one. Too few answers:
unknown. All the same to the last digit is no praise: it is what a dead wire looks like. Source: audit.md 9.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import sqrt
from typing import Any

from pipeline_lib.audit.dispute.rows import Rows
from pipeline_lib.audit.load import loaded_through
from pipeline_lib.audit.similar.explained import Explained, Window, dimension_changes, explained
from pipeline_lib.canonical import decimal_text
from pipeline_lib.settings import Settings
from pipeline_lib.store import QueryStore

Group = tuple[str, str | None, str | None]


def agreement(
    settings: Settings, window: Window, task: str | None = None, product: str | None = None, as_of: int | None = None
) -> dict[str, Any]:
    """Agreement by task, product of rank 1 and segment, most answers first."""
    store = QueryStore(settings.place.query_store)
    n = loaded_through(store) if as_of is None else as_of
    rows = Rows(store, n)
    groups: dict[Group, list[Explained]] = defaultdict(list)
    for one in explained(rows, window):
        if task in (None, one.task) and product in (None, one.product):
            groups[one.task, one.product, one.segment].append(one)
    start, end = window.bounds
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), str(item[0])))
    return {
        "from": start, "to": end, "as_of_ckpt": n, "dimension_changes": dimension_changes(rows, [window]),
        "groups": [_judged(group, found, settings.audit.similar.min_answers) for group, found in ordered],
    }  # fmt: skip


def _judged(group: Group, found: Sequence[Explained], least: int) -> dict[str, Any]:
    named = [one for one in found if any(one.contributions.values())]
    known = len(named) >= least
    tops = Counter(_top(one) for one in named)
    feature, times = tops.most_common(1)[0] if tops else (None, 0)
    return {
        "task": group[0], "product": group[1], "segment": group[2], "answers": len(found),
        "without_reasons": len(found) - len(named),
        "cosine": decimal_text(mean_cosine(named), 6) if known else None,
        "top_feature": feature if known else None,
        "top_share": decimal_text(times / len(named), 6) if known else None,
        "all_identical": len({tuple(sorted(one.contributions.items())) for one in named}) == 1 if known else None,
    }  # fmt: skip


def mean_cosine(found: Sequence[Explained]) -> float:
    """Over all pairs, from the sum of the unit vectors: |sum|^2 is n plus twice the sum over pairs."""
    total: dict[str, float] = defaultdict(float)
    for one in found:
        length = sqrt(sum(value * value for value in one.contributions.values()))
        for name, value in one.contributions.items():
            total[name] += value / length
    n = len(found)
    return (sum(value * value for value in total.values()) - n) / (n * (n - 1))


def _top(one: Explained) -> str:
    """The strongest feature; of equals the first by name."""
    return min(one.contributions, key=lambda name: (-abs(one.contributions[name]), name))
