"""The rows' own data, gathered once: what ``Material`` is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from pipeline_lib.features.events import EventStore
from pipeline_lib.features.history import Holdings, daily_moves, history_of, load_holdings
from pipeline_lib.features.inputs import FeatureInputs
from pipeline_lib.features.material import Material, load_profiles
from pipeline_lib.settings.features import Features


@dataclass(frozen=True)
class Opened:
    """Some rows with their event store."""

    inputs: FeatureInputs
    policy: Features
    store: EventStore
    holdings: Holdings

    def material(self, timed: bool) -> Material:
        """Everything the generators read.

        Args:
            timed: the source's events carry a time of day.
        """
        rows, policy = self.inputs.rows, self.policy
        keys = rows["customer_key"].to_numpy().astype(np.int64)
        return Material(
            rows=rows,
            profile=load_profiles(rows, self.inputs.snapshots, self.inputs.products, self.inputs.shards),
            history=history_of(self.holdings, keys, rows["cutoff_date"].to_list(), policy.history_months),
            windows=self.store.windows(),
            category_use=self.store.category_use(policy.recent_days),
            categories=self.inputs.categories,
            products=self.inputs.products,
            stream=self.store.stream(timed),
            holdings=self.holdings,
        )


@contextmanager
def opened(inputs: FeatureInputs, policy: Features, threads: int) -> Iterator[Opened]:
    """Read what lies up to the newest cutoff of these rows, for these customers."""
    keys = np.unique(inputs.rows["customer_key"].to_numpy().astype(np.int64))
    newest = inputs.rows["cutoff_date"].max()
    known = {day: path for day, path in inputs.snapshots.items() if day <= newest}  # type: ignore[operator]
    holdings = load_holdings(known, keys, inputs.products, inputs.shards)
    types = event_types(inputs.acts, policy)
    with EventStore(inputs, types, daily_moves(holdings), threads) as store:
        yield Opened(inputs, policy, store, holdings)


def event_types(acts: Sequence[str], policy: Features) -> dict[str, list[str]]:
    """Kind of event -> types. Spend is every act of the customer that is no inflow."""
    kinds = {name: list(types) for name, types in policy.events}
    return {"spend": [name for name in acts if name not in kinds["inflow"]], **kinds}
