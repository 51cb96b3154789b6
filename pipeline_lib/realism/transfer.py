"""Train on the synthetic bank, test on a real one: does what is learnt here hold there?"""

from __future__ import annotations

from collections.abc import Sequence

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import stats

from pipeline_lib.realism.rows import Row, judged, unknown
from pipeline_lib.realism.scores import KEYS, METRIC, Sample, grow, sample_of, score
from pipeline_lib.runs import StageOutput
from pipeline_lib.settings.realism import Realism
from pipeline_lib.settings.tasks import Kind

CHANCE = 0.5
MIN_TRAIN = 200
MIN_FEATURES = 5


def transfer(
    made: tuple[str, StageOutput, StageOutput],
    real: tuple[str, StageOutput, StageOutput],
    tasks: dict[str, Kind],
    policy: Realism,
    seeds: Sequence[int],
) -> list[Row]:
    """TSTR against TRTR per binary task, on the features both banks have.

    Args:
        made, real: name, features stage, labels stage. Features are replaced by their rank within the bank, so that
            currency and size of the bank do not matter.
    """
    rows: list[Row] = []
    subject = f"{made[0]} -> {real[0]}"
    for task, kind in tasks.items():
        if METRIC[kind] != "auc":
            continue
        samples = [sample_of(features, labels, task) for _, features, labels in (made, real)]
        shared = _shared(*samples)
        few = min(int((s.split == "train").sum()) for s in samples)
        if few < MIN_TRAIN or len(shared) < MIN_FEATURES:
            why = f"{few} train rows, {len(shared)} shared features"
            rows.append(unknown("utility", f"TSTR {task}", subject, why))
            continue
        rows += _judge(task, kind, subject, [_ranked(s, shared) for s in samples], policy, seeds)
    return rows


def _judge(
    task: str, kind: Kind, subject: str, samples: list[Sample], policy: Realism, seeds: Sequence[int]
) -> list[Row]:
    made, real = samples
    found: dict[str, list[float]] = {"tstr": [], "trtr": [], "tsts": []}
    for seed in seeds:
        here, there = grow(made, kind, seed), grow(real, kind, seed)
        for name, model, bank in (("tstr", here, real), ("trtr", there, real), ("tsts", here, made)):
            value = score(model, *bank.part("test"), kind)
            found[name] += [] if value is None else [value]
    if not all(found.values()):
        return [unknown("utility", f"TSTR {task}", subject, "the test rows carry one class only")]
    tstr, trtr, tsts = (float(np.mean(found[name])) for name in ("tstr", "trtr", "tsts"))
    note = f"TSTR {tstr:.3f}, TRTR {trtr:.3f}, TSTS {tsts:.3f}, {len(seeds)} seeds, {len(real.part('test')[1])} rows"
    ratio = (tstr - CHANCE) / (trtr - CHANCE) if trtr > CHANCE + 0.02 else None
    low = "" if ratio is not None else "; nothing to transfer: trained on the real bank itself it has no skill"
    return [
        judged("utility", f"TSTR / TRTR {task}", subject, ratio, policy.limits["transfer"], note=note + low),
        judged("utility", f"own score - TSTR {task}", subject, tsts - tstr, policy.limits["transfer_gap"], note=note),
        *_hard_part(there, made, real, task, subject, policy),
    ]


def _shared(a: Sample, b: Sample) -> list[str]:
    """Features that both banks have and that vary in both."""
    names = [name for name in a.x.columns if name in b.x.columns and name not in KEYS]
    return [name for name in names if all(s.x[name].fill_nan(None).n_unique() > 2 for s in (a, b))]


def _ranked(sample: Sample, names: list[str]) -> Sample:
    """Each feature as its rank among the bank's train rows [0, 1]; NaN stays NaN."""
    train = sample.split == "train"
    columns = {name: _rank(sample.x[name].to_numpy().astype(np.float64), train) for name in names}
    return Sample(pl.DataFrame(columns), sample.y, sample.split, sample.keys)


def _rank(values: npt.NDArray[np.float64], train: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    known = np.sort(values[train & np.isfinite(values)])
    place = (np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")) / (
        2 * max(len(known), 1)
    )
    return np.where(np.isfinite(values), place, np.nan).astype(np.float32)


def _losses(model: lgb.Booster, x: npt.NDArray[np.float32], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Log-loss of every row [n]."""
    p = np.clip(np.asarray(model.predict(x), dtype=np.float64), 1e-6, 1 - 1e-6)
    return np.asarray(-(y * np.log(p) + (1 - y) * np.log(1 - p)))


def _hard_part(model: lgb.Booster, made: Sample, real: Sample, task: str, subject: str, policy: Realism) -> list[Row]:
    """Is the synthetic bank only the easy part? Losses of a real-trained model on both."""
    here, there = (_losses(model, *bank.part("test")) for bank in (made, real))
    ks = float(stats.ks_2samp(here, there, method="asymp").statistic)
    top = [np.sort(v)[-max(len(v) // 10, 1) :].mean() for v in (here, there)]
    limits = policy.limits
    return [
        judged("hard part", f"losses of a real-trained model, KS, {task}", subject, ks, limits["hard_part_ks"]),
        judged("hard part", f"hardest tenth, loss ratio, {task}", subject, top[0] / top[1], limits["hard_part_ratio"]),
    ]
