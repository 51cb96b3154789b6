"""Which pairs of feature groups the DeepFM expert crosses loudest: a reading of the model, no claim about customers.

Mean |<v_f, v_g>| over held-out rows, v the embedding of a group. Source: teacher.md 5.1.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import torch

from pipeline_lib.teacher.experts.deepfm import DeepFM, fields_of
from pipeline_lib.teacher.explain.subject import Subject
from pipeline_lib.teacher.frame import FIDELITY

SHOWN = 10


@torch.no_grad()
def loudest_crosses(s: Subject) -> list[dict[str, Any]] | None:
    """The ten loudest pairs, loudest first; None without the expert or without held-out rows."""
    rows = s.frame.part(FIDELITY)[: s.batch_rows]
    if "deepfm" not in s.model.expert_names or not len(rows):
        return None
    expert = s.model.experts["deepfm"]
    if not isinstance(expert, DeepFM):  # a twin in its place crosses nothing
        return None
    found = expert.interactions(s.frame.x[rows].to(s.device)).cpu()  # no dropout on this way
    names = [group.name for group in fields_of(s.inputs)]
    pairs = [(float(found[i, j]), names[i], names[j]) for i, j in combinations(range(len(names)), 2)]
    return [{"groups": [a, b], "mean": value} for value, a, b in sorted(pairs, reverse=True)[:SHOWN]]
