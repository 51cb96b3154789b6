"""What really drives the synthetic bank: persona, situations, latents, propensities, month by month.

For tests and studies only. Nothing in the pipeline calls this, and none of these columns may appear in a canonical
table. Source: data.md 5.3.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from pipeline_lib.ingest.synthetic import block, customers, demographics
from pipeline_lib.ingest.synthetic.laws import Laws
from pipeline_lib.ingest.synthetic.world import Bank


def ground_truth(laws: Laws, bank: Bank) -> pl.DataFrame:
    """One row per customer and published month in which the customer has a row.

    Returns:
        customer_id, snapshot_date, persona, ``situation_<axis>``, ``z_<latent>`` at the month, and per index
        ``obs_<index>`` (observed part), ``signal_<index>`` (observed and latent part) and ``p_<index>``: the true
        chance of the index's event **in** that month, zero where it was impossible.
    """
    parts = []
    for number, first, size in bank.blocks(laws.policy.blocks.customers):
        people = customers.draw(laws, bank.seed, number, first, size)
        profile = demographics.draw(laws, people)
        fixed = _fixed(laws, people)
        for state in block.live(laws, people, profile, bank.start, bank.months):
            parts.append(fixed.with_columns(**_moving(laws, state)).filter(pl.Series(state.present)))
    return pl.concat(parts)


def _fixed(laws: Laws, people: customers.Customers) -> pl.DataFrame:
    columns = {"customer_id": pl.Series(people.number).cast(pl.String)}
    columns["persona"] = pl.Series(np.array(laws.persona_names)[people.persona])
    for axis, position in people.situation.items():
        names = np.array(list(laws.policy.situations[axis]))
        columns[f"situation_{axis}"] = pl.Series(names[position])
    return pl.DataFrame(columns)


def _moving(laws: Laws, state: block.State) -> dict[str, pl.Series | pl.Expr]:
    columns: dict[str, pl.Series | pl.Expr] = {"snapshot_date": pl.lit(state.month.snapshot)}
    for position, name in enumerate(laws.policy.latents):
        columns[f"z_{name}"] = pl.Series(state.latents[:, position])
    for name, propensity in state.propensities.items():
        columns[f"obs_{name}"] = pl.Series(propensity.observed)
        columns[f"signal_{name}"] = pl.Series(propensity.signal)
        columns[f"p_{name}"] = pl.Series(state.holdings.probability[name])
    return columns
