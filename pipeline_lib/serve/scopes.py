"""Whom a wide kill switch stops: everybody, or one cluster's customers where the row says which cluster that is.

A cluster is the component of the mixture model with the largest responsibility (columns ``gmm_prob_00`` and on). A
customer whose cluster is not known counts as being in it. Source: serving.md 4 order 2 and 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from pipeline_lib.serve.layers import Row
from pipeline_lib.serve.tables import Customer, Switch

_COLUMN, _VALID, _ALL = "gmm_prob_", "valid_gmm", "*"
UNREADABLE_SWITCH = Switch("unreadable", "global", _ALL, "rule_based")
"""What switches that cannot be read count as."""


def wide(switches: Sequence[Switch], customer: Customer | None) -> Switch | None:
    """The first switch that stops this customer whatever the task, or None."""
    own = None
    for switch in switches:
        if switch.scope == "task":
            continue
        if switch.scope != "cluster" or switch.target == _ALL:
            return switch
        own = own or (_UNKNOWN if customer is None else _named(cluster(customer.row)))
        if own == _UNKNOWN or _number(switch.target) in (_UNKNOWN, own):
            return switch
    return None


def cluster(row: Row) -> int | None:
    """Index of the row's cluster; None where the row does not say."""
    named = {name: value for name, value in zip(row.columns, row.values, strict=True) if name.startswith(_COLUMN)}
    valid = row.values[row.columns.index(_VALID)] if _VALID in row.columns else 1.0
    if not named or valid != 1.0 or not all(map(isfinite, named.values())):
        return None
    return int(max(sorted(named), key=lambda name: named[name]).removeprefix(_COLUMN))


_UNKNOWN = "unknown"


def _named(number: int | None) -> str:
    return _UNKNOWN if number is None else str(number)


def _number(target: str) -> str:
    """A target's cluster, however it was written ("7", "07", "cluster:7"); what is not understood stops everybody."""
    digits = target.rsplit(":", 1)[-1]
    return str(int(digits)) if digits.isascii() and digits.isdigit() else _UNKNOWN
