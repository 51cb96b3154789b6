"""Distances of every part and of the probes, from a reference made of the right rows.

Reference on part fit, thresholds on calib (on stop where calib is empty), rate on fidelity. What later parts and
realistic probes read is reported, not judged. Source: teacher.md 17.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline_lib.settings.teacher.explain import OutOfDistribution
from pipeline_lib.teacher.explain.ood import OodReference, Shape, calibrated, held_out
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
    fit = s.frame.part(FIT)
    seen = list(looks(s, view, fit[: rule.reference_rows]))
    z, own = (torch.cat([pair[i] for pair in seen]) if seen else torch.zeros(0, 1) for i in (0, 1))
    shape = Shape.of(z, own, rule.covariance, rule.space)
    parts = {
        part: distances_of(s, view, shape, s.frame.part(part)) for part in (FIT, STOP, CALIB, FIDELITY, GATE, SERVE)
    }
    calibrated_on = CALIB if len(parts[CALIB]) else STOP
    reference = calibrated(
        shape,
        parts[calibrated_on],
        rate=rule.false_positive_rate,
        override_rate=rule.override_rate,
        rows_fit=len(z),
        calibrated_on=calibrated_on,
        as_of=str(s.frame.keys[fit.numpy()]["cutoff_date"].max()),
    )
    tried = probe_distances(s, view, shape, rule.probe_rows)
    rates = {name: _rate(reference, d) for name, d in {**parts, **tried}.items()}
    impossible = {name: (rate := rates[name]) is not None and rate >= rule.min_probe_rate for name in IMPOSSIBLE}
    report = {
        "ref_id": reference.ref_id,
        "space": rule.space,
        "covariance": rule.covariance,
        "reference": reference.to_tensors()[1],
        "held_out": held_out(parts[FIDELITY], reference, rule.tolerance),
        "flagged": {part: rates[part] for part in parts},
        "quantiles": {part: _quantiles(d) for part, d in parts.items()},
        "probes": {name: {"rate": rates[name], "passed": impossible.get(name)} for name in tried},
        "min_probe_rate": rule.min_probe_rate,
    }
    return Distances(reference, report, _arrays(parts), _arrays(tried))


def looks(s: Subject, view: CausalView, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Latents (n, m) and own columns (n, F) of the rows that have the expert's input, a batch at a time."""
    for chunk in chunks(rows, s.batch_rows):
        batch = s.frame.batch(chunk).to(s.device)
        has = view.expert.available(batch)
        yield view.latent(batch)[has].cpu(), view.own(batch.x)[has].cpu()


def distances_of(s: Subject, view: CausalView, shape: Shape, rows: Tensor) -> Tensor:
    """(n,) float64."""
    return torch.cat([torch.zeros(0).double(), *(shape.distances(*pair) for pair in looks(s, view, rows))])


def probe_distances(s: Subject, view: CausalView, shape: Shape, most: int) -> dict[str, Tensor]:
    """Distances of the probes that are made from rows of part fidelity."""
    rows = s.frame.part(FIDELITY)[:most]
    place = {column: i for i, column in enumerate(view.columns)}
    groups = [[place[i] for i in range(g.start, g.end)] for g in s.inputs.reads(CAUSAL)]
    made = probes(view.own(s.frame.x[rows]), groups, s.seed)
    found = {name: [torch.zeros(0).double()] for name in made}
    for at in chunks(torch.arange(len(rows)), s.batch_rows):
        batch = s.frame.batch(rows[at])
        for name, values in made.items():
            latent = view.latent(view.with_own(batch, values[at]).to(s.device))
            found[name].append(shape.distances(latent, values[at]))
    return {name: torch.cat(parts) for name, parts in found.items()}


def _rate(reference: OodReference, distances: Tensor) -> float | None:
    flags = reference.flags(distances)
    return float(flags.double().mean()) if flags is not None and len(flags) else None


def _quantiles(distances: Tensor) -> dict[str, float] | None:
    if not len(distances):
        return None
    return {f"p{q}": float(np.quantile(distances.numpy(), q / 100)) for q in (50, 95, 99)}


def _arrays(found: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in found.items() if len(value)}
