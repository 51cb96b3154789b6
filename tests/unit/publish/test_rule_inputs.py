"""The measures beside a feature row: what they are, and that nothing after the snapshot changes them."""

from __future__ import annotations

from datetime import date, timedelta
from math import log
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline_lib import settings
from pipeline_lib.contracts.rule_inputs import by_customer
from pipeline_lib.settings import Place

DAY = date(2026, 10, 28)
SYNTHETIC = settings.load("synthetic", Place(dataset="synthetic")).source
Event = tuple[int, int, str, int, float, int]
"""Customer, days before the snapshot, type, category, amount, sign."""
CODES = ("a", "b", "c", "bank")


class Ingest:
    def __init__(self, folder: Path, events: list[Event] | None) -> None:
        self.folder, self.facts = folder, {"newest_snapshot": DAY.isoformat()}
        keys = pl.DataFrame({"customer_key": [1, 2, 3]}, schema={"customer_key": pl.Int32})
        self._write(f"customer_snapshot/{DAY}", keys)
        made = [True, True, True, False]
        dim = pl.DataFrame({"mcc_idx": [0, 1, 2, 3], "code": CODES, "customer_made": made})
        self._write("dim_mcc", dim.with_columns(pl.col("mcc_idx").cast(pl.UInt8)))
        if events is not None:
            self._write("transaction_event/2026-10", frame(events))

    def _write(self, name: str, table: pl.DataFrame) -> None:
        path = self.path(f"{name}.parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        table.write_parquet(path)

    def names(self, prefix: str = "") -> list[str]:
        found = (str(path.relative_to(self.folder)) for path in self.folder.rglob("*.parquet"))
        return [name for name in found if name.startswith(prefix)]

    def path(self, name: str) -> Path:
        return self.folder / name


def frame(events: list[Event]) -> pl.DataFrame:
    rows: list[dict[str, Any]] = [
        {"customer_key": who, "event_date": DAY - timedelta(days), "event_type": kind, "mcc_idx": category,
         "l2_id": category, "amount": amount, "signed_amount": sign * amount}
        for who, days, kind, category, amount, sign in events
    ]  # fmt: skip
    return pl.DataFrame(rows).with_columns(
        pl.col("customer_key").cast(pl.Int32), pl.col("mcc_idx", "l2_id").cast(pl.UInt8)
    )


def bought(who: int, days: int, category: int = 0, amount: float = 10.0, times: int = 1) -> list[Event]:
    return [(who, days, "card_purchase", category, amount, -1)] * times


HISTORY = [
    *bought(1, 89, 0, times=6), *bought(1, 0, 1, times=4), *bought(1, 90, 1, times=10), *bought(1, 180, 2, times=99),
    *bought(2, 5, 2, 30.0, times=3), (2, 5, "card_refund", 2, 500.0, 1), (2, 5, "transfer_out", 3, 70.0, -1),
]  # fmt: skip


@pytest.fixture
def found(tmp_path: Path) -> dict[int, dict[str, float]]:
    return by_customer(Ingest(tmp_path, HISTORY), SYNTHETIC)


def test_windows_end_with_the_snapshots_day_and_are_90_days_each(found: dict[int, dict[str, float]]) -> None:
    assert found[1]["category_n_a"] == 6
    assert found[1]["category_n_b"] == 4
    assert "category_n_c" not in found[1]


def test_the_divergence_is_what_the_formula_gives_less_chance(found: dict[int, dict[str, float]]) -> None:
    p, q = (0.6, 0.4), (0.0, 1.0)
    m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    apart = sum(x * log(x / c) for side in (p, q) for x, c in zip(side, m, strict=True) if x) / 2
    assert found[1]["category_shift_jsd"] == pytest.approx((apart - (1 / 10 + 1 / 10) / 8) / log(2), abs=1e-6)
    entropy = -0.6 * log(0.6) - 0.4 * log(0.4)
    assert found[1]["category_entropy_change"] == pytest.approx(entropy, abs=1e-6)
    assert "category_shift_jsd" not in found[2]


def test_money_is_ranked_among_all_customers_and_who_has_no_events_spent_nothing(
    found: dict[int, dict[str, float]],
) -> None:
    ranks = {who: row["spend_percentile"] for who, row in found.items()}
    assert ranks == {1: pytest.approx(250 / 3), 2: 50.0, 3: pytest.approx(50 / 3)}
    assert found[2]["monthly_outflow"] == pytest.approx((90 + 70) / 3)
    assert "balance" not in found[1]


def test_nothing_after_the_snapshot_changes_anything(tmp_path: Path, found: dict[int, dict[str, float]]) -> None:
    later = [*bought(1, -1, 2, 9_999.0, times=50), *bought(3, -20, 0, 5.0, times=50)]
    assert by_customer(Ingest(tmp_path / "later", [*HISTORY, *later]), SYNTHETIC) == found


def test_a_source_without_events_carries_nothing(tmp_path: Path) -> None:
    assert by_customer(Ingest(tmp_path, None), SYNTHETIC) == {1: {}, 2: {}, 3: {}}


def test_a_whole_ledger_has_balances(tmp_path: Path) -> None:
    events = [(1, 100, "deposit_inflow", 0, 100.0, 1), (1, 10, "transfer_out", 0, 25.0, -1)]
    source = SYNTHETIC.model_copy(update={"whole_ledger": True, "purchase_types": ["transfer_out"]})
    row = by_customer(Ingest(tmp_path, events), source)[1]
    assert (row["balance"], row["balance_trend"]) == (75.0, -0.25)
