"""Distances of every part and of the probes, from a reference made of the right rows.

Reference on part fit, thresholds on calib (on stop where calib is empty), rate on fidelity. What later parts and
realistic probes read is reported, not judged. Source: teacher.md 17.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.settings.teacher.explain import OutOfDistribution
from pipeline_lib.teacher.explain.ood import OodReference, fit_reference, held_out
from pipeline_lib.teacher.explain.probes import IMPOSSIBLE, probes
from pipeline_lib.teacher.explain.subject import CAUSAL, Subject
from pipeline_lib.teacher.explain.view import CausalView, chunks
from pipeline_lib.teacher.frame import CALIB, FIDELITY, FIT, GATE, SERVE, STOP


@dataclass(frozen=True)
class Distances:
    """Out-of-distribution: the reference, the report, and distances per part and probe for the picture."""

    reference: OodReference
    report: dict[str, Any]
    parts: dict[str, np.ndarray]
    probes: dict[str, np.ndarray]


def measure_distances(s: Subject, view: CausalView, rule: OutOfDistribution) -> Distances:
    frame = s.frame
    latents = {part: latents_of(s, view, frame.part(part)) for part in (FIT, STOP, CALIB, FIDELITY, GATE, SERVE)}
    calibrated_on = CALIB if len(latents[CALIB]) else STOP
    newest = frame.keys[frame.part(FIT).numpy()]["cutoff_date"].max()
    reference = fit_reference(
        latents[FIT],
        latents[calibrated_on],
        rate=rule.false_positive_rate,
        override_rate=rule.override_rate,
        covariance=rule.covariance,
        calibrated_on=calibrated_on,
        as_of=str(newest),
    )
    parts = {part: reference.distances(z) for part, z in latents.items()}
    tried = {name: reference.distances(z) for name, z in probe_latents(s, view, rule.probe_rows).items()}
    rates = {name: _rate(reference, d) for name, d in {**parts, **tried}.items()}
    impossible = {name: (rate := rates[name]) is not None and rate >= rule.min_probe_rate for name in IMPOSSIBLE}
    report = {
        "ref_id": reference.ref_id,
        "reference": reference.to_tensors()[1],
        "held_out": held_out(parts[FIDELITY], reference, rule.tolerance),
        "flagged": {part: rates[part] for part in parts},
        "quantiles": {part: _quantiles(d) for part, d in parts.items()},
        "probes": {name: {"rate": rates[name], "passed": impossible.get(name)} for name in tried},
        "min_probe_rate": rule.min_probe_rate,
    }
    return Distances(reference, report, _arrays(parts), _arrays(tried))


def latents_of(s: Subject, view: CausalView, rows: Tensor) -> Tensor:
    """Latents of the rows that have the expert's input. (n, m)."""
    found = []
    for chunk in chunks(rows, s.batch_rows):
        batch = s.frame.batch(chunk).to(s.device)
        found.append(view.latent(batch)[view.expert.available(batch)].cpu())
    return torch.cat(found) if found else torch.zeros(0, 1)


def probe_latents(s: Subject, view: CausalView, most: int) -> dict[str, Tensor]:
    """Latents of the probes that are made from rows of part fidelity."""
    rows = s.frame.part(FIDELITY)[:most]
    place = {column: i for i, column in enumerate(view.columns)}
    groups = [[place[i] for i in range(g.start, g.end)] for g in s.inputs.reads(CAUSAL)]
    found: dict[str, list[Tensor]] = {}
    made = probes(view.own(s.frame.x[rows]), groups, s.seed)
    for at in chunks(torch.arange(len(rows)), s.batch_rows):
        batch = s.frame.batch(rows[at])
        for name, values in made.items():
            found.setdefault(name, []).append(view.latent(view.with_own(batch, values[at]).to(s.device)).cpu())
    return {name: torch.cat(found[name]) if name in found else torch.zeros(0, 1) for name in made}


def _rate(reference: OodReference, distances: Tensor) -> float | None:
    flags = reference.flags(distances)
    return float(flags.double().mean()) if flags is not None and len(flags) else None


def _quantiles(distances: Tensor) -> dict[str, float] | None:
    if not len(distances):
        return None
    return {f"p{q}": float(distances.quantile(q / 100)) for q in (50, 95, 99)}


def _arrays(found: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in found.items() if len(value)}
