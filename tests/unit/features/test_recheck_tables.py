"""Edges and sequences are read by the teacher too: what they know of after the cutoff stops the build."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from pipeline_lib.errors import ContractError
from pipeline_lib.features import items, part, recheck, sequences
from pipeline_lib.features.history import month_number
from pipeline_lib.features.material import Material

MANY = {"features": {"work": {"recheck_rows": 20}}}


def plant_edges(monkeypatch: pytest.MonkeyPatch, planted) -> None:
    """Edges as ``planted`` makes them, wherever they are made."""
    for module in (part, recheck):
        monkeypatch.setattr(module, "edges", planted)


def test_an_edge_to_a_product_of_the_label_month(monkeypatch, rebuilt):
    def of_the_next_month(m: Material, scale: float) -> np.ndarray:
        made, held = items.edges(m, scale), m.holdings
        assert held is not None
        months = np.array([month_number(day) for day in m.rows["cutoff_date"]]) - held.first_month + 1
        known = months < held.held.shape[1]
        who = held.position(m.rows["customer_key"].to_numpy().astype(np.int64))
        made[known, : len(m.products)] = held.held[who[known], months[known]] == 1
        return made

    plant_edges(monkeypatch, of_the_next_month)
    with pytest.raises(ContractError, match=r"edges\.parquet: column prod_\w+ of customer \d+ at .* \(alone\)"):
        rebuilt(overrides=MANY)


def test_an_edge_to_a_category_used_after_the_cutoff(monkeypatch, rebuilt):
    def with_later_use(m: Material, scale: float) -> np.ndarray:
        made, stream = items.edges(m, scale), m.stream
        assert stream is not None
        later = stream.events.day[np.minimum(stream.high, len(stream.events) - 1)] > stream.cutoff
        made[:, -1] += later
        return made

    plant_edges(monkeypatch, with_later_use)
    with pytest.raises(ContractError, match=r"edges\.parquet: column mcc_\w+ of customer \d+ at .* \(alone\)"):
        rebuilt(overrides=MANY)


def test_edges_that_depend_on_the_other_rows(monkeypatch, rebuilt):
    def over_the_mean(m: Material, scale: float) -> np.ndarray:
        made = items.edges(m, scale)
        return made / np.float32(1 + made.mean())

    plant_edges(monkeypatch, over_the_mean)
    with pytest.raises(ContractError, match=r"edges\.parquet: column \w+ of customer"):
        rebuilt()


def test_a_step_after_the_cutoff(monkeypatch, rebuilt):
    honest = sequences._block

    def later(keys: pl.DataFrame, *rest):
        table, count = honest(keys.with_columns(pl.col("cutoff_date") + timedelta(days=1)), *rest)
        return table.set_column(1, "cutoff_date", keys["cutoff_date"].to_arrow()), count

    monkeypatch.setattr(sequences, "_block", later)
    with pytest.raises(ContractError, match=r"sequences\.parquet: column txn_\w+.* of customer \d+ at .* \(alone\)"):
        rebuilt(overrides=MANY)


def test_a_value_of_a_step_that_its_batch_decides(monkeypatch, rebuilt):
    honest = sequences._channel_values

    def over_the_largest(days: pl.DataFrame, fitted) -> dict[str, np.ndarray]:
        made = honest(days, fitted)
        return {**made, "spend_log": made["spend_log"] / made["spend_log"].max(initial=1.0)}

    monkeypatch.setattr(sequences, "_channel_values", over_the_largest)
    with pytest.raises(ContractError, match=r"sequences\.parquet: column txn_seq\[\d+\] of customer \d+ at .* is 0\."):
        rebuilt()
