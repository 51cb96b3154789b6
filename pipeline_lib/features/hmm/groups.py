"""The groups hmm_journey, hmm_lifecycle and hmm_behavior: what they observe, learn and declare.

An observation that train rows never define, or that never varies there (a source without merchants, without a time
of day, without transfers), says nothing about the state and is left out of the model: the covariance is diagonal,
so the rest stays exact. The fitted array ``used`` says which are in, and the columns' lineage names only those.
Source: features.md 5 and 12.4.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from pipeline_lib.contracts.tables import product_column
from pipeline_lib.features.columns import EVENT, MERCHANT, SNAPSHOT, Column, Floats, Kind, Values, event_type
from pipeline_lib.features.generator import Arrays, Generator, GroupUnavailable, Shape
from pipeline_lib.features.history import History
from pipeline_lib.features.hmm import observations
from pipeline_lib.features.hmm.columns import MOTION_STATS, PATH_STATS, motion_stats, path_stats
from pipeline_lib.features.hmm.em import Priors, learn, matched
from pipeline_lib.features.hmm.model import Bools, Model, Sequences, smooth, viterbi
from pipeline_lib.features.hmm.observations import Observed, history_at
from pipeline_lib.features.material import Material
from pipeline_lib.features.series.blocks import in_blocks, joined
from pipeline_lib.features.stream import Stream
from pipeline_lib.settings.feature_groups.hmm import Hmm, HmmMode
from pipeline_lib.settings.features import Features

log = logging.getLogger(__name__)
MIN_SCALE = 1e-9
MIN_OBSERVATIONS = 2
"""Fewer cannot tell five states apart."""
_BASE = (f"{EVENT}.event_date", f"{SNAPSHOT}.snapshot_date")
_MCC, _AMOUNT, _TYPE, _HOUR = (f"{EVENT}.{name}" for name in ("mcc_idx", "amount", "event_type", "event_ts"))


@dataclass(frozen=True)
class Mode:
    group: str
    policy: HmmMode
    common: Hmm
    observe: Callable[[Stream, History], Observed]
    inputs: tuple[tuple[str, ...], ...]
    """Lineage of each observation beyond the days [C]."""
    min_snapshots: int
    min_events: int
    """Rows with fewer snapshots, or fewer purchases inside the sequence, have no values."""
    learn_moves: bool
    path_stats: tuple[str, ...] = PATH_STATS

    def columns(self, used: Bools) -> tuple[Column, ...]:
        lineage = {*_BASE, *(name for inputs, on in zip(self.inputs, used, strict=True) if on for name in inputs)}
        kinds: dict[str, Kind] = {f"state_prob_{state}": "prob" for state in self.policy.states}
        kinds |= {name: "num" for name in (*self.path_stats, *MOTION_STATS)}
        fill = {"prob": 1 / len(self.policy.states)}
        needs = (event_type("spend"),)
        return tuple(
            Column(f"{self.group}_{name}", kind, tuple(sorted(lineage)), needs, fill.get(kind))
            for name, kind in kinds.items()
        )

    def sequences(self, stream: Stream, history: History) -> tuple[Sequences, Bools]:
        """The sequences that say enough, and which rows they are [R]."""
        seen = self.observe(stream, history)
        raw = seen.sequences
        valid = (raw.length >= self.common.min_steps) & (seen.events >= self.min_events)
        valid &= history.months_observed >= self.min_snapshots
        return Sequences(raw.values[valid], raw.length[valid]), valid


def journey(shape: Shape, policy: Features) -> Generator:
    """Weekly steps; transitions stay at the prior, because weeks hold too few events to learn them."""
    own = policy.hmm
    return _generator(
        Mode(
            "hmm_journey",
            own.journey,
            own,
            lambda stream, history: observations.journey(stream, history, own.weeks),
            ((), (_MCC,), (MERCHANT,), ()),
            min_snapshots=1,
            min_events=1,
            learn_moves=False,
        )
    )


def lifecycle(shape: Shape, policy: Features) -> Generator:
    """Monthly steps of spend and holdings."""
    own = policy.hmm
    flags = tuple(f"{SNAPSHOT}.{product_column(short)}" for short in shape.products)
    return _generator(
        Mode(
            "hmm_lifecycle",
            own.lifecycle,
            own,
            observations.lifecycle,
            ((_AMOUNT,), flags, flags, ()),
            min_snapshots=own.min_steps,
            min_events=0,
            learn_moves=True,
        )
    )


def behavior(shape: Shape, policy: Features) -> Generator:
    """Monthly steps of how, not how much, the customer spends."""
    own = policy.hmm
    return _generator(
        Mode(
            "hmm_behavior",
            own.behavior,
            own,
            observations.behavior,
            ((_AMOUNT,), (_MCC,), (_HOUR,), (_AMOUNT, _TYPE)),
            min_snapshots=1,
            min_events=1,
            learn_moves=True,
            path_stats=tuple(name for name in PATH_STATS if name != "dominant_state"),
        )
    )


def _generator(mode: Mode) -> Generator:
    def columns_of(learnt: Arrays, known: Mapping[str, Column]) -> tuple[Column, ...]:
        return mode.columns(learnt["used"].astype(np.bool_))

    return Generator(
        columns=mode.columns(np.zeros(len(mode.inputs), dtype=np.bool_)),
        make=lambda m, learnt, made: _make(mode, m, learnt),
        fit=lambda m, made: _fit(mode, m),
        columns_of=columns_of,
        block="hmm",
    )


def _fit(mode: Mode, m: Material) -> Arrays:
    """Scales of the observations on train steps, and the model learnt from train sequences.

    Raises:
        GroupUnavailable: no train row is long enough, or too few observations vary.
    """
    sequences = _train_sequences(mode, m)
    if not len(sequences):
        raise GroupUnavailable(f"no train row has {mode.common.min_steps} steps to learn {mode.group} from")
    steps = sequences.values[sequences.live.T]
    known = np.flatnonzero(~np.isnan(steps).all(axis=0))
    center, scale = np.zeros(steps.shape[1]), np.zeros(steps.shape[1])
    center[known], scale[known] = np.nanmean(steps[:, known], axis=0), np.nanstd(steps[:, known], axis=0)
    used = np.asarray(scale > MIN_SCALE, dtype=np.bool_)
    if int(used.sum()) < MIN_OBSERVATIONS:
        raise GroupUnavailable(f"{mode.group}: {used.sum()} of {len(mode.inputs)} observations vary on train rows")
    arrays: Arrays = {"used": used.astype(np.uint8), "center": center, "scale": scale}
    return {**arrays, **_learnt(mode, _scaled(sequences, arrays), used)}


def _train_sequences(mode: Mode, m: Material) -> Sequences:
    parts = [mode.sequences(stream, history_at(m.history, rows))[0] for rows, stream in in_blocks(m)]
    return Sequences(np.concatenate([p.values for p in parts]), np.concatenate([p.length for p in parts]))


def _learnt(mode: Mode, sequences: Sequences, used: Bools) -> Arrays:
    own, prior_mean = mode.common, np.array(mode.policy.means)[:, used]
    prior = Model(np.array(mode.policy.start), np.array(mode.policy.transition), prior_mean, np.ones_like(prior_mean))
    priors = Priors(prior, own.transition_pull, own.mean_pull, own.variance_floor, mode.learn_moves)
    raw, iterations = learn(sequences, priors, own.max_iterations, own.tolerance)
    model, distance = matched(raw, prior_mean)
    for state, far in zip(mode.policy.states, distance, strict=True):
        if far > own.lost_distance:
            log.warning("%s: state %s lost its meaning: %.2f sd from its prior mean", mode.group, state, far)
    facts = {"distance": distance, "iterations": np.array([iterations]), "sequences": np.array([len(sequences)])}
    return {**vars(model), **facts}


def _scaled(sequences: Sequences, learnt: Arrays) -> Sequences:
    """Z units of the used observations; not defined becomes the train mean."""
    used = learnt["used"].astype(np.bool_)
    z = (sequences.values[:, :, used] - learnt["center"][used]) / learnt["scale"][used]
    return replace(sequences, values=np.where(np.isnan(z), 0.0, z))


def _make(mode: Mode, m: Material, learnt: Arrays) -> Values:
    return joined([_make_block(mode, stream, history_at(m.history, rows), learnt) for rows, stream in in_blocks(m)])


def _make_block(mode: Mode, stream: Stream, history: History, learnt: Arrays) -> Values:
    sequences, valid = mode.sequences(stream, history)
    model = Model(*(learnt[name] for name in ("start", "transition", "mean", "variance")))
    out: Values = {}
    for name, values in _states(mode, model, _scaled(sequences, learnt)).items():
        whole: Floats = np.full(len(valid), np.nan)
        whole[valid] = values
        out[f"{mode.group}_{name}"] = whole
    return out


def _states(mode: Mode, model: Model, sequences: Sequences) -> Values:
    run = smooth(model, sequences)
    gamma = np.ascontiguousarray(run.gamma.transpose(2, 0, 1))  # (R, T, N)
    path = np.ascontiguousarray(viterbi(model, run.density, sequences.live).T)
    on_path = path_stats(path, gamma[:, -1], np.diag(model.transition), sequences.length)
    return {
        **{f"state_prob_{state}": gamma[:, -1, i] for i, state in enumerate(mode.policy.states)},
        **{name: on_path[name] for name in mode.path_stats},
        **motion_stats(gamma, sequences.length),
    }
