"""Numbers of clusters that keep their meaning when the mixture is fitted again.

New components take the number of the nearest old one, by the Hungarian method on standardised means, so that
"cluster 7" stays what drift readings and rules know by that number. Source: features.md 3 (refit policy).

The weekly fit does not call it, on purpose. The numbers of a week would hang on which earlier weeks were finished when
it ran: a week filled in later would be the nearest earlier one of all that follow, and repeating those would give other
bytes. Weeks may be run in any order and repeated; that wins. Numbers therefore belong to a fit and travel with its
artefacts, and whoever compares two weeks (a drift reading, a rule) aligns their fits when it reads them: both lie in
the stages' ``fitted.safetensors``. Hidden states need none of this: priors that are the same every week hold each
state at its meaning (``hmm.em.matched``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline_lib.errors import ContractError
from pipeline_lib.features.columns import Floats
from pipeline_lib.features.generator import Arrays, unpacked

LOST = 1.5
"""Mean distance above which the clusters have changed their meaning [standard deviations]: a warning."""
_BY_COMPONENT = ("weights", "means", "factors")


@dataclass(frozen=True)
class Alignment:
    arrays: Arrays
    """The new fit with its components in the old order; those without an old one come last."""
    distance: float
    """Mean Euclidean distance of the matched means [standard deviations of the new fit]."""

    @property
    def lost(self) -> bool:
        return self.distance > LOST


def aligned(new: Arrays, old: Arrays) -> Alignment:
    """Order the components of ``new`` like those of ``old``, on the inputs both have.

    Raises:
        ContractError: the fits share no input.
    """
    was, now = (unpacked(fit["inputs"]) for fit in (old, new))
    shared = [name for name in now if name in was and old["logged"][was.index(name)] == new["logged"][now.index(name)]]
    if not shared:
        raise ContractError(f"mixtures to align share no input: {was} and {now}")
    scale = new["sd"][[now.index(name) for name in shared]]
    apart = (_raw_means(old, shared)[:, None] - _raw_means(new, shared)[None]) / scale
    cost = np.sqrt((apart**2).sum(axis=2))  # [old, new]
    matched = linear_sum_assignment(cost)
    order = [*matched[1], *(k for k in range(cost.shape[1]) if k not in matched[1])]
    renumbered = {name: new[name][order] for name in _BY_COMPONENT}
    return Alignment({**new, **renumbered}, float(cost[matched].mean()))


def _raw_means(fit: Arrays, names: list[str]) -> Floats:
    """Means in the units of the (logged) inputs [K, shared]."""
    at = [unpacked(fit["inputs"]).index(name) for name in names]
    raw: Floats = fit["means"][:, at] * fit["sd"][at] + fit["mean"][at]
    return raw
