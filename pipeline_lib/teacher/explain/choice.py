"""Head or exact target: learn the head, judge both on part fidelity, and let the head out only if it passes.

Source: teacher.md 17.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline_lib.settings.teacher import explain as settings
from pipeline_lib.teacher.explain.attribution import Attributor, fit_attributor
from pipeline_lib.teacher.explain.quality import Deletion, Quality, judge
from pipeline_lib.teacher.explain.subject import Subject
from pipeline_lib.teacher.explain.view import CausalView, chunks
from pipeline_lib.teacher.frame import FIDELITY, FIT


@dataclass(frozen=True)
class Attribution:
    """The attributor that leaves the stage, the report, and what the picture shows."""

    attributor: Attributor
    report: dict[str, Any]
    mean_absolute: dict[str, float]
    deletion: Deletion


def attribute(s: Subject, view: CausalView, rule: settings.Attribution) -> Attribution:
    held = s.frame.part(FIDELITY)
    learned = fit_attributor(
        view,
        s.frame,
        s.frame.part(FIT),
        hidden=rule.hidden,
        epochs=rule.epochs,
        rate=rule.rate,
        decay=rule.mean_decay,
        batch_rows=s.train_rows,
        sample_rows=rule.gate_rows,
        seed=s.seed,
        device=s.device,
    )
    found: dict[str, Quality] = {
        a.method: judge(a, s.frame, held, rule, s.batch_rows, s.seed, s.device) for a in (learned, learned.exact())
    }
    chosen = learned if found["head"].passed else learned.exact()
    largest = _mean_absolute(s, chosen, held[: rule.gate_rows])
    report = {
        "method": chosen.method,
        "columns": len(view.columns),
        "quality": {method: quality.to_dict() for method, quality in found.items()},
        "mean_absolute": largest,
    }
    return Attribution(chosen, report, largest, found[chosen.method].deletion)


def _mean_absolute(s: Subject, attributor: Attributor, rows: Tensor) -> dict[str, float]:
    total = torch.zeros(len(attributor.view.columns), dtype=torch.float64)
    for chunk in chunks(rows, s.batch_rows):
        total += attributor.of(s.frame.batch(chunk).to(s.device)).abs().sum(0).cpu()
    mean = (total / max(len(rows), 1)).tolist()
    return {s.columns[i]: value for i, value in zip(attributor.view.columns, mean, strict=True)}
