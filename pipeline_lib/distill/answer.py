"""What a student's output means: the one order of steps, which serving repeats from ``student.json`` alone.

1. output = model(x); ``output_kind`` raw: output += base_score.
2. raw = output (``raw``, ``value``), ln(p / (1 - p)) or ln p of a ``prob``: never a second sigmoid.
3. binary: calibrator on raw, else sigmoid; multiclass: softmax, then calibrator; regression: calibrator.

It is branched on ``output_kind`` and never on the kind of task alone. Source: distillation.md 6, serving.md 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.distill import calibration as c
from pipeline_lib.distill.booster import Model
from pipeline_lib.distill.frame import output_of
from pipeline_lib.distill.metrics import Reals
from pipeline_lib.distill.objective import MIN_PROBABILITY
from pipeline_lib.settings.tasks import Kind


def raw_score(kind: Kind, model: Model, x: NDArray[np.float32]) -> Reals:
    """Steps 1 and 2: logit (n,), log-scale scores (n, K) or value (n,), before any calibrator."""
    output = model.predict(x)
    if model.output_kind != "prob":
        return output
    if kind == "binary":
        return c.logit(output)
    return np.asarray(np.log(np.clip(output, MIN_PROBABILITY, 1)), dtype=np.float64)


def served(kind: Kind, calibrator: Mapping[str, Any], raw: Reals) -> Reals:
    """Step 3: calibrated probability (n,), probabilities (n, K) or value (n,)."""
    if kind == "binary":
        return c.apply_binary(calibrator, raw)
    if kind == "multiclass":
        return c.apply_multiclass(calibrator, output_of(kind, raw))
    return c.apply_linear(calibrator, raw)
