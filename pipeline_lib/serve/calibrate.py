"""From a model's output to the served value: raw -> calibrate -> clamp, in this order and once.

Calibrators travel as JSON numbers in ``student.json``. A student distilled with a custom objective gives raw scores; a
direct twin gives probabilities or values already. Applying a logistic to a probability turned a mean of 0.12 into
0.53 in the earlier system, so the branch is on ``output_kind``, never on the task's type alone.
Source: serving.md 6; distillation.md 10.
"""

from __future__ import annotations

from bisect import bisect_right
from math import exp, inf, log

from pipeline_lib.errors import ContractError
from pipeline_lib.forest.layout import EXP, IDENTITY, SIGMOID, SOFTMAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

LOWEST = 1e-6
"""Probabilities are clamped to [LOWEST, 1 - LOWEST]. Source: serving.md 6.4."""


def outputs(objective: int, parameter: float, raw: Sequence[float]) -> tuple[float, ...]:
    """What LightGBM makes of raw scores under a built-in objective: ``ConvertOutput``, in its order of operations."""
    if objective == IDENTITY:
        return tuple(raw)
    if objective == SIGMOID:
        return tuple(1.0 / (1.0 + _exp(-parameter * score)) for score in raw)
    if objective == SOFTMAX:
        return softmax(raw)
    if objective == EXP:
        return tuple(map(_exp, raw))
    raise ContractError("the outputs of a custom objective are raw scores")


def served(
    kind: str, output_kind: str, output: Sequence[float], calibrator: Mapping[str, Any] | None
) -> tuple[float, ...]:
    """Served value: (p,) of a binary task, K probabilities of a multiclass one, (value,) of a regression.

    Args:
        output: the model's outputs with the base score added: raw scores, probabilities or a value.
    """
    if kind == "regression":
        return (_linear(output[0], calibrator),)
    if kind == "binary":
        return (_clamped(_binary(output_kind, output[0], calibrator)),)
    probabilities = softmax(output) if output_kind == "raw" else tuple(output)
    return _normalised(_one_vs_rest(probabilities, calibrator))


def logistic(x: float) -> float:
    """1 / (1 + e^-x) without overflow."""
    if x >= 0:
        return 1.0 / (1.0 + exp(-x))
    return exp(x) / (1.0 + exp(x))


def logit(p: float) -> float:
    p = min(max(p, 1e-7), 1 - 1e-7)
    return log(p / (1 - p))


def softmax(scores: Sequence[float]) -> tuple[float, ...]:
    top = max(scores)
    weights = [exp(score - top) for score in scores]
    total = sum(weights)
    return tuple(weight / total for weight in weights)


def interpolate(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """Piecewise linear through the knots, constant beyond the ends."""
    i = bisect_right(xs, x)
    if i == 0:
        return ys[0]
    if i == len(xs):
        return ys[-1]
    share = (x - xs[i - 1]) / (xs[i] - xs[i - 1])
    return ys[i - 1] + share * (ys[i] - ys[i - 1])


def _exp(x: float) -> float:
    try:
        return exp(x)
    except OverflowError:
        return inf


def _binary(output_kind: str, output: float, calibrator: Mapping[str, Any] | None) -> float:
    name = (calibrator or {}).get("kind", "none")
    if name == "none":
        return logistic(output) if output_kind == "raw" else output
    assert calibrator is not None
    raw = output if output_kind == "raw" else logit(output)
    if name == "platt":
        return logistic(calibrator["a"] * raw + calibrator["b"])
    if name == "isotonic":
        return interpolate(raw, calibrator["x"], calibrator["y"])
    raise ContractError(f"a binary task cannot be calibrated by {name!r}")


def _linear(value: float, calibrator: Mapping[str, Any] | None) -> float:
    name = (calibrator or {}).get("kind", "none")
    if name == "none":
        return value
    if name == "linear":
        assert calibrator is not None
        return float(calibrator["u"] + calibrator["v"] * value)
    raise ContractError(f"a regression task cannot be calibrated by {name!r}")


def _one_vs_rest(probabilities: Sequence[float], calibrator: Mapping[str, Any] | None) -> Sequence[float]:
    name = (calibrator or {}).get("kind", "none")
    if name == "none":
        return probabilities
    if name != "ovr_platt":
        raise ContractError(f"a multiclass task cannot be calibrated by {name!r}")
    assert calibrator is not None
    pairs = zip(probabilities, calibrator["a"], calibrator["b"], strict=True)
    return [logistic(a * logit(p) + b) for p, a, b in pairs]


def _clamped(p: float) -> float:
    return min(max(p, LOWEST), 1 - LOWEST)


def _normalised(values: Sequence[float]) -> tuple[float, ...]:
    clamped = [_clamped(value) for value in values]
    total = sum(clamped)
    return tuple(value / total for value in clamped)
