"""The side heads that are switched on: their report and their tensors. Source: teacher.md 14."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipeline_lib.settings.teacher.explain import Explain
from pipeline_lib.teacher.explain.evidential import fit_heads, hidden_states
from pipeline_lib.teacher.explain.sparse_codes import activations, firing, fit_codes
from pipeline_lib.teacher.explain.subject import Subject
from pipeline_lib.teacher.explain.view import chunks
from pipeline_lib.teacher.frame import FIDELITY, FIT


def side_heads(s: Subject, policy: Explain) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Sparse codes and evidential heads, where they are on: their report and their tensors."""
    report: dict[str, Any] = {"sparse_codes": None, "evidential": None}
    tensors: dict[str, Tensor] = {}
    fit, held = s.frame.part(FIT), s.frame.part(FIDELITY)
    if (sae := policy.sparse_codes).enabled:
        x = activations(s.model, s.frame, fit, s.batch_rows, s.device)
        codes = fit_codes(x, width=sae.width, sparsity=sae.sparsity, epochs=sae.epochs, rate=sae.rate,
                          batch_rows=s.train_rows, seed=s.seed)  # fmt: skip
        report["sparse_codes"] = firing(codes, x).to_dict()
        tensors |= {f"sparse_codes.{name}": value for name, value in codes.state_dict().items()}
    if (rule := policy.evidential).enabled:
        heads = fit_heads(s.model, s.frame, s.tasks, fit, hidden=rule.hidden, penalty=rule.penalty,
                          anneal_epochs=rule.anneal_epochs, epochs=rule.epochs, rate=rule.rate,
                          batch_rows=s.train_rows, seed=s.seed, device=s.device)  # fmt: skip
        states = [hidden_states(s.model, s.frame, chunk, s.device) for chunk in chunks(held, s.batch_rows)]
        evidence = heads.evidence(torch.cat(states)) if states else {}
        report["evidential"] = {
            name: {"median_uncertainty": float(e.uncertainty.median())} for name, e in evidence.items()
        }
        tensors |= {f"evidential.{name}": value.cpu() for name, value in heads.state_dict().items()}
    return report, tensors
