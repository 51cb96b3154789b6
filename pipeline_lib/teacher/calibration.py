"""Post-hoc calibration of raw logits, fitted on part ``calib`` alone.

    binary      z' = scale * z + bias            Platt 1999, with a positive slope
    multiclass  z'_k = scale * z_k (+ bias_k)    temperature 1/scale (Guo et al. 2017), bias per class (Alexandari 2020)
    regression  z' = scale * z + bias            least squares, where asked for; distillation.md 10

No slope is negative, so calibration cannot reverse a ranking. Focal loss and class weights shift the shares on
purpose, and a Huber loss answers below the mean of a skewed label; the biases put both back. A temperature alone keeps
the most likely class, so a task judged by its decision (macro-F1) keeps the balanced one its class weights bought; only
a task whose class probabilities are used gets a bias per class. The two of them are fitted in float64 by L-BFGS with a
small L2 penalty, which keeps classes without rows in place; the bias of a binary task stays free, or rare positives
would be overstated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline_lib.teacher.contract import TaskSpec

_STEPS = 200


@dataclass(frozen=True)
class Calibrator:
    """``kind`` is platt, temperature, linear or identity; ``why`` says why a task stayed uncalibrated."""

    kind: str
    scale: float
    bias: tuple[float, ...]
    rows: int
    why: str = ""

    def apply(self, logit: Tensor) -> Tensor:
        """(n,) or (n, K) -> the same shape."""
        bias = torch.tensor(self.bias if logit.dim() > 1 else self.bias[0], dtype=logit.dtype)
        return logit * self.scale + bias

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Calibrator:
        return cls(**{**body, "bias": tuple(body["bias"])})


def identity(ways: int, rows: int, why: str) -> Calibrator:
    return Calibrator("identity", 1.0, (0.0,) * ways, rows, why)


def fit_line(task: TaskSpec, value: Tensor, label: Tensor, min_rows: int) -> Calibrator:
    """Least squares of the label on the answer; identity with a reason where the line would not rise.

    value (n,) in standard deviations of the label, label (n,) in label units with NaN = masked.
    """
    known = ~label.isnan()
    z, y = value[known].double(), (label[known].double() - task.mean) / task.std
    if len(y) < min_rows:
        return identity(1, len(y), f"{len(y)} rows")
    centred = z - z.mean()
    spread = float(centred.square().sum())
    slope = float((centred * y).sum()) / spread if spread > 0 else 0.0
    if slope <= 0:
        return identity(1, len(y), f"slope {slope:.3g}, expected above 0")
    return Calibrator("linear", round(slope, 9), (round(float(y.mean() - slope * z.mean()), 9),), len(y))


def fit_calibrator(
    task: TaskSpec, logit: Tensor, label: Tensor, min_rows: int, min_class_rows: int, penalty: float, class_bias: bool
) -> Calibrator:
    """Scale and bias that minimise the log-loss; identity with a reason when there is too little to fit on.

    logit (n,) or (n, K), label (n,) with NaN = masked. ``class_bias``: put the shares of the classes back.
    """
    known = ~label.isnan()
    z, y = logit[known].double(), label[known].double()
    counts = torch.bincount(y.long(), minlength=2).sort(descending=True).values
    if len(y) < min_rows or int(counts[1]) < min_class_rows:
        return identity(task.out, len(y), f"{len(y)} rows, {int(counts[1])} in the second class")
    with_bias = task.kind == "binary" or class_bias
    scale, bias = _minimise(z, y, penalty, with_bias)
    kind = "platt" if task.kind == "binary" else "temperature"
    return Calibrator(kind, scale, tuple(bias), len(y))


def _minimise(z: Tensor, y: Tensor, penalty: float, with_bias: bool) -> tuple[float, list[float]]:
    ways = z.shape[1] if z.dim() > 1 else 1
    parameters = torch.zeros(1 + ways, dtype=torch.float64, requires_grad=True)

    def objective() -> Tensor:
        bias = parameters[1:] if with_bias else torch.zeros(ways, dtype=torch.float64)
        logit = z * parameters[0].exp() + (bias if ways > 1 else bias[0])
        loss = F.cross_entropy(logit, y.long()) if ways > 1 else F.binary_cross_entropy_with_logits(logit, y)
        held = parameters.square().sum() if ways > 1 else parameters[0].square()
        return loss + penalty / len(y) * held

    optimiser = torch.optim.LBFGS([parameters], max_iter=_STEPS, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = objective()
        loss.backward()
        return loss

    optimiser.step(closure)
    found = parameters.detach().tolist()
    # Nine digits: what the checkpoint stores is what was applied.
    return round(float(torch.tensor(found[0]).double().exp()), 9), [
        round(b, 9) if with_bias else 0.0 for b in found[1:]
    ]
