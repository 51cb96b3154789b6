"""The group ``model_derived``: lifecycle summary, bandit and classical series statistics. Source: features.md 11."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline_lib.features.bandit import BANDIT, bandit
from pipeline_lib.features.columns import EVENT, Column, Values, event_type, nan_where
from pipeline_lib.features.generator import Generator, Shape
from pipeline_lib.features.hmm.columns import PATH_STATS
from pipeline_lib.features.series.blocks import by_block
from pipeline_lib.features.series.change_points import change_points
from pipeline_lib.features.series.complexity import complexity, newest_amounts
from pipeline_lib.features.series.daily import autoregression, permutation_entropy, spectrum
from pipeline_lib.features.series.distribution import distribution
from pipeline_lib.features.stream import LOOKBACK_DAYS, Stream
from pipeline_lib.settings.feature_groups.series import Series
from pipeline_lib.settings.features import Features

LIFECYCLE = "hmm_lifecycle"
DISTRIBUTION = (
    "ts_dist_amount_skew", "ts_dist_amount_kurtosis", "ts_dist_gap_skew", "ts_dist_gap_kurtosis",
)  # fmt: skip
DAILY = (
    "ts_freq_dominant", "ts_freq_entropy", "ts_freq_centroid", "ts_freq_bandwidth",
    "ts_cp_count", "ts_cp_max_shift", "ts_cp_segment",
    "ts_ar_lag1", "ts_ar_lag7", "ts_ar_partial2", "ts_ar_ljung_box",
)  # fmt: skip
COMPLEXITY = (
    "ts_complex_approximate_entropy", "ts_complex_sample_entropy", "ts_complex_permutation_entropy",
)  # fmt: skip
MIN_SPREAD = 1e-9
"""Daily spend that varies less than this share of its mean is constant but for rounding."""
_AMOUNT = (f"{EVENT}.amount", f"{EVENT}.event_date")
_WHEN = (f"{EVENT}.event_date",)


def model_derived(shape: Shape, policy: Features) -> Generator:
    """The lifecycle values are the lifecycle group's under a shorter name; without that group they are not there."""
    own = policy.series
    return Generator(
        columns=(*(_lifecycle(name, _WHEN) for name in PATH_STATS), *_own_columns(own)),
        make=lambda m, learnt, made: {**_summary(made), **by_block(m, lambda stream: series(stream, own))},
        after=(LIFECYCLE,),
        columns_of=lambda learnt, known: (*_known_lifecycle(known), *_own_columns(own)),
    )


def series(stream: Stream, own: Series) -> Values:
    """Every column but the lifecycle summary, for the rows of ``stream``."""
    year = stream.window(LOOKBACK_DAYS, ("spend",))
    recent = year.last(own.days)
    x = recent.daily(recent.events.amount)
    daily = {
        **spectrum(x),
        **change_points(x, own.cusum_allowance, own.cusum_alarm),
        **autoregression(x),
        "ts_complex_permutation_entropy": permutation_entropy(x),
    }
    few = ((x > 0).sum(axis=1) < own.min_active_days) | (x.std(axis=1) <= MIN_SPREAD * x.mean(axis=1))
    return {
        **bandit(year.last(own.bandit_days), own.bandit_min_events),
        **distribution(recent, own.min_values),
        **{name: nan_where(few, values) for name, values in daily.items()},
        **complexity(*newest_amounts(year, own.max_amounts), own.min_values, own.tolerance_sd),
    }


def _lifecycle(name: str, lineage: tuple[str, ...]) -> Column:
    return Column(f"hmm_{name}", "num", lineage, (event_type("spend"),))


def _known_lifecycle(known: Mapping[str, Column]) -> list[Column]:
    own = {name: known.get(f"{LIFECYCLE}_{name}") for name in PATH_STATS}
    return [_lifecycle(name, column.lineage) for name, column in own.items() if column]


def _summary(made: Values) -> Values:
    own = {f"hmm_{name}": made.get(f"{LIFECYCLE}_{name}") for name in PATH_STATS}
    return {name: values for name, values in own.items() if values is not None}


def _own_columns(own: Series) -> tuple[Column, ...]:
    def column(name: str, lineage: tuple[str, ...], days: int) -> Column:
        return Column(name, "num", lineage, (event_type("spend"),), lookback_days=days)

    gap = {"ts_dist_gap_skew", "ts_dist_gap_kurtosis"}
    arms = (f"{EVENT}.l2_id", f"{EVENT}.event_date")
    valued = {"bandit_ucb", "bandit_regret"}
    return (
        *(column(n, (*arms, f"{EVENT}.amount") if n in valued else arms, own.bandit_days) for n in BANDIT),
        *(column(n, _WHEN if n in gap else _AMOUNT, own.days) for n in DISTRIBUTION),
        *(column(n, _AMOUNT, own.days) for n in DAILY),
        *(column(n, _AMOUNT, own.days if "permutation" in n else LOOKBACK_DAYS) for n in COMPLEXITY),
    )
