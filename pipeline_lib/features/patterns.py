"""Group ``multidisciplinary``: instruments borrowed from other fields, read on the purchases of 90 days (24).

``chem_`` activation and saturation, ``epi_`` spread over categories, ``crime_`` routine and bursts, ``wave_``
spectra and phases. They measure patterns; no text may claim the mechanism. With too few purchases, gaps or active
days a column is NaN: no pattern was measured. Source: features.md 10; names route by prefix (F9).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline_lib.features import patterns_days as days
from pipeline_lib.features import patterns_wave as wave
from pipeline_lib.features.columns import EVENT, TIME_OF_DAY, Column, Floats, Kind, Values, event_type, nan_where
from pipeline_lib.features.generator import Arrays, Generator, GroupUnavailable, Shape
from pipeline_lib.features.material import Material
from pipeline_lib.features.patterns_categories import DAYS, Use, category_patterns
from pipeline_lib.features.series.blocks import by_block, in_blocks
from pipeline_lib.features.stream import LOOKBACK_DAYS, Stream, Window
from pipeline_lib.settings.feature_groups.patterns import Patterns
from pipeline_lib.settings.features import Features

CENTS = 100.0
_SPEND = (event_type("spend"),)
_MCC = (f"{EVENT}.mcc_idx", f"{EVENT}.event_date")
_WHEN = (f"{EVENT}.event_date",)
_AMOUNT = (f"{EVENT}.amount", f"{EVENT}.event_date")
_L2 = (f"{EVENT}.l2_id", *_AMOUNT)


def _column(name: str, lineage: tuple[str, ...], *needs: str, kind: Kind = "num", back: int = DAYS) -> Column:
    return Column(name, kind, lineage, (*_SPEND, *needs), lookback_days=back)


COLUMNS = (
    _column("chem_new_category_activation_rate", _MCC, back=LOOKBACK_DAYS),
    _column("chem_spending_half_life", _WHEN),
    _column("chem_spending_acceleration", _AMOUNT),
    _column("chem_dormancy_reactivation_rate", _MCC),
    _column("chem_catalyst_sensitivity", _AMOUNT),
    _column("chem_saturation_proximity", _AMOUNT),
    _column("epi_sir_susceptible", _MCC),
    _column("epi_sir_infected", _MCC),
    _column("epi_sir_recovered", _MCC),
    _column("epi_max_weekly_new_mcc", _MCC, back=LOOKBACK_DAYS),
    _column("epi_category_lifecycle_mean", _MCC),
    _column("crime_burstiness", _WHEN),
    _column("crime_recurrence_period", _AMOUNT),
    _column("crime_routine_breakpoint_count", _AMOUNT),
    _column("crime_circular_variance", (f"{EVENT}.event_ts",), TIME_OF_DAY),
    _column("crime_max_amount_zscore", _AMOUNT),
    _column("wave_spectral_entropy", _AMOUNT),
    _column("wave_weekly_harmonic_power", _AMOUNT),
    _column("wave_dominant_period", _AMOUNT),
    _column("wave_spectral_centroid_shift", _AMOUNT),
    _column("wave_cross_spectral_coherence", _L2),
    _column("wave_phase_locking_value", _L2),
    _column("wave_mean_phase_difference", _L2, kind="cyc"),
    _column("wave_constructive_interference_ratio", _L2),
)


def generator(shape: Shape, policy: Features) -> Generator:
    """The group ``multidisciplinary``; it learns the categories most used on train."""
    sizes = [int(shape.categories[name].max() or 0) + 1 for name in ("mcc_idx", "l2_id")]  # type: ignore[arg-type]
    return Generator(
        COLUMNS,
        lambda m, learnt, made: _make(m, learnt, policy.patterns, sizes[0], sizes[1]),
        lambda m, made: {"top": _top(m, policy.patterns.top_categories, sizes[0])},
    )


def _top(m: Material, count: int, categories: int) -> npt.NDArray[np.int64]:
    """Categories with most purchases in the 90 days of the rows, ties by mcc_idx.

    Raises:
        GroupUnavailable: the rows have no purchase.
    """
    total = np.zeros(categories, dtype=np.int64)
    for _, stream in in_blocks(m):
        total += np.bincount(stream.window(DAYS, ("spend",)).events.mcc, minlength=categories)
    if not total.any():
        raise GroupUnavailable(f"train has no purchase in the {DAYS} days up to a cutoff")
    ranked = np.lexsort((np.arange(categories), -total))
    return ranked[total[ranked] > 0][:count]


def _make(m: Material, learnt: Arrays, policy: Patterns, categories: int, level2: int) -> Values:
    return by_block(m, lambda stream: _block(stream, learnt["top"], policy, categories, level2))


def _block(stream: Stream, top: npt.NDArray[np.int64], policy: Patterns, categories: int, level2: int) -> Values:
    year = stream.window(LOOKBACK_DAYS, ("spend",))
    w = year.last(DAYS)
    cents = np.round(w.events.amount * CENTS)  # whole numbers: sums do not depend on their order
    daily = w.daily(cents)
    x = daily / CENTS
    few, quiet = w.counts < policy.min_purchases, (x > 0).sum(axis=1) < policy.min_active_days
    plain = {**category_patterns(Use.of(year, categories), top), **_daily(w, daily, stream.cutoff, policy)}
    waves = {**_spectral(x), **_pairs(w, cents, level2)}
    return {
        **{name: nan_where(few, values) for name, values in plain.items()},
        **{name: nan_where(quiet, values) for name, values in waves.items()},
        **_gaps(w, policy),
    }


def _daily(w: Window, daily: Floats, cutoff: npt.NDArray[np.int32], policy: Patterns) -> Values:
    x = daily / CENTS
    return {
        "chem_spending_acceleration": days.acceleration(x),
        "chem_catalyst_sensitivity": days.payday(x, cutoff),
        "chem_saturation_proximity": days.saturation(x),
        "crime_recurrence_period": days.recurrence(x),
        "crime_routine_breakpoint_count": days.breakpoints(daily),
        "crime_circular_variance": days.circular_variance(w, policy.min_purchases),
        "crime_max_amount_zscore": days.largest_amount(w),
    }


def _gaps(w: Window, policy: Patterns) -> Values:
    row, gap = days.gaps(w)
    few = np.bincount(row, minlength=len(w)) < policy.min_gaps
    return {
        "chem_spending_half_life": nan_where(few, days.median(row, gap, len(w))),
        "crime_burstiness": nan_where(few, days.burstiness(row, gap, len(w))),
    }


def _spectral(x: Floats) -> Values:
    share = wave.spectrum(x)
    half = DAYS // 2
    return {
        "wave_spectral_entropy": wave.entropy(share),
        "wave_weekly_harmonic_power": wave.weekly_power(share, DAYS),
        "wave_dominant_period": wave.dominant_period(share, DAYS),
        "wave_spectral_centroid_shift": wave.centroid(x[:, half:]) - wave.centroid(x[:, :half]),
    }


def _pairs(w: Window, cents: Floats, level2: int) -> Values:
    """The two level-2 categories with most spend, ties by number; NaN with only one."""
    spent = np.bincount(w.row * level2 + w.events.l2, cents, len(w) * level2).reshape(len(w), level2)
    two = np.argsort(-spent, axis=1, kind="stable")[:, :2]
    if level2 < 2:
        two = np.concatenate([two, two], axis=1)
    alone = (np.take_along_axis(spent, two, axis=1) <= 0).any(axis=1) | (two[:, 0] == two[:, 1])
    a, b = (w.daily(np.where(w.events.l2 == two[w.row, k], cents, 0.0)) / CENTS for k in (0, 1))
    locking, difference, together = wave.phases(a, b)
    made = {
        "wave_cross_spectral_coherence": wave.coherence(a, b),
        "wave_phase_locking_value": locking,
        "wave_mean_phase_difference": difference,
        "wave_constructive_interference_ratio": together,
    }
    return {name: nan_where(alone, values) for name, values in made.items()}
