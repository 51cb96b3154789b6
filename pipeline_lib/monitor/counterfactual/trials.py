"""Answers with both models' probabilities side by side, as arrays: all that the estimates need.

Shapes: n answers, A candidates (the most of any answer; places without a candidate have item -1 and probability 0),
D task outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline_lib.monitor.counterfactual.rewards import Codes
from pipeline_lib.monitor.counterfactual.weights import Array

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Trials:
    customers: Codes
    """(n,) customer codes from 0 on, without gaps."""
    by_champion: Mask
    """(n,) whether the champion gave the answer itself."""
    drawn: Mask
    """(n,) whether rank 1 was drawn: only then its propensity says something about another model."""
    items: Codes
    """(n, A) item codes."""
    names: tuple[str, ...]
    """Item of every code."""
    scores: Array
    """(n, A) of the model that answered."""
    mu: Array
    champion: Array
    challenger: Array
    """(n, A) probabilities of being rank 1: as logged, and as the two models would have it."""
    action: Codes
    """(n,) place of the item that was shown."""
    reward: Array
    """(n,) 1 = accepted, NaN = not known."""
    x: Array
    """(n, D) calibrated task outputs of the model that answered, 0 where there is none."""
    groups: Mapping[str, NDArray[np.str_]]
    """Protected attribute -> group of every answer, '' where it is not known."""

    def __len__(self) -> int:
        return len(self.reward)

    def at_action(self, values: Array) -> Array:
        """(n, A) -> (n,): the shown item's."""
        return np.asarray(values[np.arange(len(self)), self.action], dtype=np.float64)

    def unreproduced(self, tolerance: float) -> Mask:
        """(n,) the champion's own answers whose logged propensities its replay does not give back."""
        found: Mask = self.by_champion & (np.abs(self.champion - self.mu).max(axis=1, initial=0.0) > tolerance)
        return found

    def where(self, keep: Mask) -> Trials:
        """The answers of a mask, customers numbered anew."""
        customers = np.unique(self.customers[keep], return_inverse=True)[1]
        per_answer = (
            "by_champion",
            "drawn",
            "items",
            "scores",
            "mu",
            "champion",
            "challenger",
            "action",
            "reward",
            "x",
        )
        cut = {name: getattr(self, name)[keep] for name in per_answer}
        groups = {attribute: found[keep] for attribute, found in self.groups.items()}
        return replace(self, customers=customers, groups=groups, **cut)


def side_by_side(logged: pl.DataFrame, replayed: pl.DataFrame, champion: str | None) -> Trials:
    """The answers of stage ``logged`` whose context was replayed.

    Args:
        logged: ``logged.parquet``. replayed: ``replay.parquet``. champion: its version.
    """
    per_answer = replayed.group_by("prediction_id", maintain_order=True).agg("product_id", "champion", "challenger")
    both = logged.join(per_answer, on="prediction_id", maintain_order="left")
    names = tuple(sorted(set(both["items"].explode(empty_as_null=False).to_list())))
    place = {name: code for code, name in enumerate(names)}
    rows = both.iter_rows(named=True)
    wide = max((len(items) for items in both["items"]), default=0)
    block = np.zeros((4, both.height, wide))
    items, action = np.full((both.height, wide), -1), np.zeros(both.height, dtype=np.int64)
    for i, row in enumerate(rows):
        k = len(row["items"])
        items[i, :k] = [place[name] for name in row["items"]]
        at = {name: j for j, name in enumerate(row["product_id"])}
        order = [at[name] for name in row["items"]]
        block[0, i, :k], block[1, i, :k] = row["scores"], row["propensities"]
        block[2, i, :k], block[3, i, :k] = _ordered(row["champion"], order), _ordered(row["challenger"], order)
        action[i] = row["items"].index(row["action"])
    return Trials(
        customers=np.unique(both["subject_ref"].to_numpy().astype(str), return_inverse=True)[1],
        by_champion=(both["model_version"] == (champion or "")).to_numpy(),
        drawn=(both["state"] == "usable").to_numpy(),
        items=items, names=names, scores=block[0], mu=block[1], champion=block[2], challenger=block[3],
        action=action, reward=both["reward"].cast(pl.Float64).fill_null(np.nan).to_numpy(), x=_outputs(both["outputs"]),
        groups=_groups(both["groups"]),
    )  # fmt: skip


def _ordered(values: Sequence[float], order: Sequence[int]) -> list[float]:
    return [values[j] for j in order]


def _outputs(values: pl.Series) -> Array:
    width = max((len(one) for one in values), default=0)
    rows = [[0.0 if v is None else v for v in one] + [0.0] * (width - len(one)) for one in values]
    return np.array(rows, dtype=np.float64).reshape(len(values), width)


def _groups(values: pl.Series) -> Mapping[str, NDArray[np.str_]]:
    """``values``: per answer a list of {attribute, group}."""
    known = [{one["attribute"]: one["group"] for one in row} for row in values]
    return {
        attribute: np.array([row.get(attribute) or "" for row in known], dtype=np.str_)
        for attribute in sorted({name for row in known for name in row})
    }
