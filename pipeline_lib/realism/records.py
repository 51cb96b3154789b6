"""Customers as vectors: can a model tell two banks apart, and does one repeat the other?"""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
from scipy.spatial import cKDTree
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from pipeline_lib.realism.panel import Floats, Panel
from pipeline_lib.realism.rows import Row, judged
from pipeline_lib.settings.realism import Realism

K = 5
FOLDS = 5
SEQUENCE_MONTHS = 12
PARAMS = {"objective": "binary", "num_leaves": 31, "learning_rate": 0.1, "verbose": -1, "deterministic": True,
          "force_row_wise": True, "num_threads": 1}  # fmt: skip
ROUNDS = 60


def profile_vectors(panel: Panel) -> Floats:
    """Profile and habits of each customer [N, D], NaN = not known: what a row of the bank looks like."""
    p = panel.profile
    columns = [p[name].cast(float).fill_null(np.nan).to_numpy() for name in ("age", "income", "tenure_months")]
    columns.append(p["num_products"].cast(float).to_numpy())
    columns += [np.nanmean(np.where(panel.present, x, np.nan), axis=1) for x in (panel.spend, panel.events)]
    columns.append(panel.present.sum(axis=1).astype(np.float64))
    return np.column_stack(columns)


def sequence_vectors(panel: Panel) -> Floats:
    """The last 12 months: products, ln(1 + spend), events [N, 36]; NaN where absent."""
    months = slice(-SEQUENCE_MONTHS, None)
    parts = [panel.num_products[:, months]]
    parts += [np.where(panel.present, np.log1p(x), np.nan)[:, months] for x in (panel.spend, panel.events)]
    return np.concatenate(parts, axis=1)


def records(a: Panel, b: Panel, policy: Realism) -> list[Row]:
    """Discriminator, duplicates and neighbourhoods of two samples of equal size; ``b`` plays the real bank."""
    subject = f"{a.name} / {b.name}"
    rng = np.random.default_rng(policy.seed)
    rows = []
    for what, vectors in (("rows", profile_vectors), ("12-month sequences", sequence_vectors)):
        x, y = _equal(vectors(a), vectors(b), policy.neighbours, rng)
        auc, interval = classifier_auc(x, y, policy, rng)
        limit = policy.limits["classifier_auc"]
        rows.append(judged("joint", f"classifier AUC on {what}", subject, auc, limit, interval))
    return rows + _replication(a, b, subject, policy, rng)


def classifier_auc(
    x: Floats, y: Floats, policy: Realism, rng: np.random.Generator
) -> tuple[float, tuple[float, float]]:
    """5-fold AUC of a LightGBM that tells rows of ``x`` from rows of ``y``, with its bootstrap interval."""
    data, label = np.concatenate([x, y]), np.repeat([0, 1], [len(x), len(y)])
    score = np.zeros(len(data))
    for fit, judge in StratifiedKFold(FOLDS, shuffle=True, random_state=policy.seed).split(data, label):
        model = lgb.train({**PARAMS, "seed": policy.seed}, lgb.Dataset(data[fit], label[fit]), ROUNDS)
        score[judge] = model.predict(data[judge])
    drawn = []
    for _ in range(policy.bootstraps):
        at = rng.integers(0, len(data), len(data))
        drawn.append(roc_auc_score(label[at], score[at]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(roc_auc_score(label, score)), (float(low), float(high))


def _replication(a: Panel, b: Panel, subject: str, policy: Realism, rng: np.random.Generator) -> list[Row]:
    """Is ``a`` a copy of one half of ``b``? The other half of ``b`` says how close honest customers are."""
    x, y = _equal(sequence_vectors(a), sequence_vectors(b), 2 * policy.neighbours, rng)
    scale = np.nanstd(y, axis=0)
    x, y = (np.nan_to_num(v / np.where(scale > 0, scale, 1.0), nan=-3.0) for v in (x, y))
    calibration, held_out = y[::2], y[1::2]
    made = x[: len(held_out)]
    seen = {row.tobytes() for row in np.round(calibration, 3)}
    copies = float(np.mean([row.tobytes() in seen and bool(row.std()) for row in np.round(made, 3)]))
    nearer = float(np.mean(_nearest(made, calibration) < _nearest(made, held_out)))
    own, real = (np.median(_nearest(v, v, skip_self=True)) for v in (made, held_out))
    limits = policy.limits
    rows = [
        judged("replication", "exact duplicates of 12-month records", subject, copies, limits["duplicates"]),
        judged("replication", "nearer to the first half", subject, nearer, limits["nearer_to_calibration"]),
        judged("replication", "neighbour distance ratio", subject, float(own / real), limits["neighbour_ratio"]),
    ]
    for name, value in neighbourhood(made, held_out).items():
        limit = limits["coverage"] if name == "coverage" else None
        rows.append(judged("replication", f"{K}-NN {name}", subject, value, limit))
    return rows


def neighbourhood(made: Floats, real: Floats) -> dict[str, float]:
    """Precision, recall, density and coverage with k = 5. Source: Naeem et al., ICML 2020."""
    radius_real, radius_made = (_nearest(v, v, skip_self=True, k=K) for v in (real, made))
    tree_real, tree_made = cKDTree(real), cKDTree(made)
    inside = np.array([len(found) for found in tree_made.query_ball_point(real, radius_real)])
    hits = np.zeros(len(made))
    for found in tree_made.query_ball_point(real, radius_real):
        hits[found] += 1
    reached = np.array([len(found) for found in tree_real.query_ball_point(made, radius_made)])
    covered_real = np.zeros(len(real), dtype=bool)
    for found in tree_real.query_ball_point(made, radius_made):
        covered_real[found] = True
    return {
        "precision": float(np.mean(hits > 0)),
        "recall": float(covered_real.mean()) if reached.any() else 0.0,
        "density": float(hits.sum() / (K * len(made))),
        "coverage": float(np.mean(inside > 0)),
    }


def _nearest(x: Floats, y: Floats, *, skip_self: bool = False, k: int = 1) -> Floats:
    distance, _ = cKDTree(y).query(x, k=k + skip_self)
    return np.asarray(distance[:, -1] if k + skip_self > 1 else distance, dtype=np.float64)


def _equal(x: Floats, y: Floats, most: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    size = min(len(x), len(y), most)
    return x[rng.permutation(len(x))[:size]], y[rng.permutation(len(y))[:size]]
