"""Explanation vectors: how an answer came about as 64 numbers, so that answers with like reasons lie close. Pure.

    0-6    weights of the deciding task's experts, L2-normalised; zero where the teacher did not explain the answer
    7-62   attribution, hashed by feature name with a sign, L2-normalised: a new or renamed column moves one bucket
    63     how far out the customer lay: half of min(distance / limit, 4) / 4; 0 where that is not known

Another number of experts, or another weight of a slice, is another space; vectors of two spaces are never compared.
The three slices together have a length of at most 1.5, and the cosine is taken over all of them.
Source: audit.md 9.1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]

SPACE = "xv1"
EXPERTS = ("deepfm", "lightgcn", "hgcn", "temporal", "perslay", "causal", "optimal_transport")
BUCKETS = 56
DIMENSIONS = len(EXPERTS) + BUCKETS + 1
OOD_WEIGHT, OOD_CAP = 0.5, 4.0
STUDENT = "student_contrib"


def vector(attribution: Mapping[str, Any], guardrail: Mapping[str, Any] | None) -> Vector | None:
    """The vector of one answer from the payloads of its rows.

    Returns:
        64 float32; None when the rows give no direction at all (no gates, no attribution), or name an expert that
        this space does not have.
    """
    gates = _gates(attribution)
    if gates is None:
        return None
    reasons = _unit(_hashed(attribution.get("top_features") or []))
    if not gates.any() and not reasons.any():
        return None
    ood = OOD_WEIGHT * _far_out((guardrail or {}).get("ood") or {})
    return np.concatenate([gates, reasons, [ood]]).astype(np.float32)


def has_gates(attribution: Mapping[str, Any]) -> bool:
    """Did the teacher explain the answer? Gates beside a student's own contributions are not its reasons."""
    return bool(attribution.get("gates")) and attribution.get("method") != STUDENT


def is_far_out(guardrail: Mapping[str, Any] | None) -> bool | None:
    """Beyond a limit that held; None where the distance is not known or stale."""
    level = ((guardrail or {}).get("ood") or {}).get("level")
    return None if level in (None, "unknown", "stale") else level in ("flagged", "override")


@lru_cache(8192)
def place(feature: str) -> tuple[int, int]:
    """Bucket and sign of a feature's name: SHA-256 mod 56, and the next bit of the rest."""
    number = int.from_bytes(hashlib.sha256(feature.encode("utf-8")).digest(), "big")
    return number % BUCKETS, 1 - 2 * (number // BUCKETS % 2)


def _gates(attribution: Mapping[str, Any]) -> npt.NDArray[np.float64] | None:
    weights = np.zeros(len(EXPERTS))
    for gate in (attribution.get("gates") or []) if has_gates(attribution) else []:
        if gate["expert"] not in EXPERTS:
            return None
        weights[EXPERTS.index(gate["expert"])] = float(gate["w"])
    return _unit(weights)


def _hashed(features: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
    buckets = np.zeros(BUCKETS)
    for item in features:
        bucket, sign = place(item["feature"])
        buckets[bucket] += sign * float(item["contribution"])
    return buckets


def _far_out(ood: Mapping[str, Any]) -> float:
    distance, limit = ood.get("distance"), ood.get("flag_over")
    if distance is None or limit is None or float(limit) <= 0:
        return 0.0
    return min(float(distance) / float(limit), OOD_CAP) / OOD_CAP


def _unit(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    length = float(np.linalg.norm(values))
    return values / length if length > 0 else values
