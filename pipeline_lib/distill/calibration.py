"""From raw scores to probabilities people may rely on: Platt, one-vs-rest Platt, linear. Plain numbers, no objects.

Order is fixed: raw score -> calibrator; never a sigmoid and then Platt. A slope that is not positive would turn
the ranking round, so it is rejected and the student stays uncalibrated. Steps instead of a sigmoid: ``isotonic``.
Source: distillation.md section 10; Newton steps: Lin, Lin and Weng, "A Note on Platt's Probabilistic Outputs", 2007.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import expit, log_expit

from pipeline_lib.distill.metrics import Ints, Reals

REJECTED = "CALIBRATION_REJECTED"
NONE: dict[str, Any] = {"kind": "none"}
_STEPS = 100
_TOLERANCE = 1e-10
_FLOOR = 1e-7


def logit(p: Reals) -> Reals:
    """ln(p / (1 - p)) of probabilities kept off 0 and 1."""
    clipped = np.clip(p, _FLOOR, 1 - _FLOOR)
    odds: Reals = np.log(clipped / (1 - clipped))
    return odds


def platt(raw: Reals, y: Ints) -> tuple[float, float] | None:
    """A, B of P = s(A r + B), or None when A > 0 does not come out. ``raw`` (n,), ``y`` (n,) of {0, 1}.

    Targets are (n+ + 1)/(n+ + 2) and 1/(n- + 2) instead of 1 and 0, so that separable data stay finite.
    """
    positives, negatives = int(np.sum(y == 1)), int(np.sum(y == 0))
    target = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    a, b = 0.0, float(logit(np.array([target.mean()]))[0])
    best = _cross_entropy(a * raw + b, target)
    for _ in range(_STEPS):
        p = expit(a * raw + b)
        step_a, step_b = _newton_step(raw, p - target, p * (1 - p))
        scale = 1.0
        while scale > _TOLERANCE and _cross_entropy((a - scale * step_a) * raw + b - scale * step_b, target) > best:
            scale /= 2
        a, b = a - scale * step_a, b - scale * step_b
        best = _cross_entropy(a * raw + b, target)
        if scale * max(abs(step_a), abs(step_b)) < _TOLERANCE:
            break
    return (a, b) if a > 0 else None


def linear(predicted: Reals, y: Reals) -> tuple[float, float] | None:
    """u, v of y = u + v x by least squares, or None when v > 0 does not come out."""
    centred = predicted - predicted.mean()
    spread = float(np.sum(centred**2))
    slope = float(np.sum(centred * (y - y.mean()))) / spread if spread > 0 else 0.0
    return (float(y.mean() - slope * predicted.mean()), slope) if slope > 0 else None


def fit_binary(raw: Reals, y: Ints) -> dict[str, Any]:
    """``raw`` (n,): the raw score, or the logit of the probability of a direct model."""
    ab = platt(raw, y)
    return {"kind": "platt", "a": ab[0], "b": ab[1]} if ab else {**NONE, "flag": REJECTED}


def fit_one_vs_rest(p: Reals, y: Ints, min_class_rows: int) -> dict[str, Any]:
    """One sigmoid per class on the logit of its probability (n, K); A = 1, B = 0 passes a class through."""
    pairs: list[tuple[float, float]] = []
    rejected: list[int] = []
    for k in range(p.shape[1]):
        hits = (y == k).astype(np.int64)
        enough = min_class_rows <= int(hits.sum()) < len(hits)
        ab = platt(logit(p[:, k]), hits) if enough else (1.0, 0.0)
        if ab is None:
            rejected.append(k)
        pairs.append(ab or (1.0, 0.0))
    fitted = {"kind": "ovr_platt", "a": [a for a, _ in pairs], "b": [b for _, b in pairs]}
    return {**fitted, "flag": REJECTED, "rejected_classes": rejected} if rejected else fitted


def fit_linear(predicted: Reals, y: Reals) -> dict[str, Any]:
    uv = linear(predicted, y)
    return {"kind": "linear", "u": uv[0], "v": uv[1]} if uv else {**NONE, "flag": REJECTED}


def apply_binary(calibrator: Mapping[str, Any], raw: Reals) -> Reals:
    """Probability (n,) from the raw score (n,)."""
    if calibrator["kind"] == "none":
        return np.asarray(expit(raw), dtype=np.float64)
    if calibrator["kind"] == "isotonic":
        return np.asarray(np.interp(raw, calibrator["x"], calibrator["y"]), dtype=np.float64)
    return np.asarray(expit(calibrator["a"] * raw + calibrator["b"]), dtype=np.float64)


def apply_multiclass(calibrator: Mapping[str, Any], p: Reals) -> Reals:
    """Probabilities (n, K), rows summing to 1, from uncalibrated ones."""
    if calibrator["kind"] == "none":
        return p
    each = expit(np.array(calibrator["a"]) * logit(p) + np.array(calibrator["b"]))
    return np.asarray(each / each.sum(axis=1, keepdims=True), dtype=np.float64)


def apply_linear(calibrator: Mapping[str, Any], predicted: Reals) -> Reals:
    """Value (n,) in label units."""
    return predicted if calibrator["kind"] == "none" else calibrator["u"] + calibrator["v"] * predicted


def _cross_entropy(score: Reals, target: Reals) -> float:
    return float(-np.sum(target * log_expit(score) + (1 - target) * log_expit(-score)))


def _newton_step(raw: Reals, residual: Reals, weight: Reals) -> tuple[float, float]:
    """Inverse 2 x 2 Hessian times gradient, for A and B."""
    aa, ab, bb = np.sum(weight * raw**2) + 1e-12, np.sum(weight * raw), np.sum(weight) + 1e-12
    gradient_a, gradient_b = np.sum(residual * raw), np.sum(residual)
    determinant = aa * bb - ab**2
    if determinant <= 1e-15 * aa * bb:  # a constant score: the slope is not defined, so it stays where it is
        return 0.0, float(gradient_b / bb)
    return (
        float((bb * gradient_a - ab * gradient_b) / determinant),
        float((aa * gradient_b - ab * gradient_a) / determinant),
    )
