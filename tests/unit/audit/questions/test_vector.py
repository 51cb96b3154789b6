"""Explanation vectors: pure, by name, of one fixed space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.audit.similar import vector
from pipeline_lib.audit.similar.vector import BUCKETS, DIMENSIONS, EXPERTS, OOD_CAP, OOD_WEIGHT, Vector, place

GATES = [{"expert": name, "w": f"0.{at + 1}00000000"} for at, name in enumerate(EXPERTS)]
WHY = {"method": "ceh_batch", "gates": GATES, "top_features": [{"feature": "income", "contribution": "0.3"}]}
NAMES = st.text("abcdefgh_", min_size=1, max_size=12)
VALUES = st.floats(-5, 5).filter(lambda x: abs(x) > 1e-6)
numbers = st.dictionaries(NAMES, VALUES, min_size=1, max_size=10)


def made(why: dict[str, Any], guardrail: dict[str, Any] | None = None) -> Vector:
    found = vector.vector(why, guardrail)
    assert found is not None
    return found


def features(values: dict[str, float]) -> list[dict[str, Any]]:
    return [{"feature": name, "contribution": repr(value)} for name, value in values.items()]


def test_the_layout_is_the_space_xv1() -> None:
    found = made(WHY, {"ood": {"distance": "6.0", "flag_over": "3.0"}})
    assert (len(found), found.dtype, DIMENSIONS) == (64, np.float32, 64)
    assert found[:7] == pytest.approx(np.arange(1, 8) / np.linalg.norm(np.arange(1, 8)))
    bucket, sign = place("income")
    assert found[7 + bucket] == sign
    assert np.count_nonzero(found[7:63]) == 1
    assert found[63] == pytest.approx(OOD_WEIGHT * 2 / OOD_CAP)


def test_a_feature_has_its_bucket_and_sign_for_ever() -> None:
    """Golden: another hash would be another space."""
    names = ["num_products", "avg_amount", "hmm_lifecycle_state_prob_at_risk", "거래"]
    assert [place(name) for name in names] == [(22, -1), (33, 1), (0, -1), (25, 1)]


@given(numbers, st.randoms())
def test_order_and_scale_of_the_features_do_not_matter(values: dict[str, float], random: Any) -> None:
    shuffled = list(values.items())
    random.shuffle(shuffled)
    one = vector.vector({**WHY, "top_features": features(values)}, None)
    two = vector.vector({**WHY, "top_features": features({k: 4 * v for k, v in shuffled})}, None)
    assert one is not None
    assert two is not None
    assert one == pytest.approx(two, abs=1e-5)


@given(numbers)
def test_no_slice_is_longer_than_its_weight(values: dict[str, float]) -> None:
    found = made({**WHY, "top_features": features(values)}, {"ood": {"distance": "99", "flag_over": "1"}})
    assert np.linalg.norm(found[:7]) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(found[7 : 7 + BUCKETS]) <= 1 + 1e-5
    assert found[63] == OOD_WEIGHT


def test_a_student_explained_answer_has_no_gates() -> None:
    student = {**WHY, "method": "student_contrib"}
    assert not vector.has_gates(student)
    assert not made(student)[:7].any()


def test_what_nobody_explained_has_no_vector() -> None:
    assert vector.vector({"method": "rule", "gates": None, "top_features": None}, {"ood": {}}) is None


def test_an_expert_this_space_does_not_have_is_not_forced_into_it() -> None:
    assert vector.vector({**WHY, "gates": [*GATES, {"expert": "eighth", "w": "0.1"}]}, None) is None


def test_an_unknown_distance_is_unknown_and_not_near() -> None:
    assert [vector.is_far_out(one) for one in (None, {"ood": None}, {"ood": {"level": "stale"}})] == [None] * 3
    assert vector.is_far_out({"ood": {"level": "normal"}}) is False
    assert [vector.is_far_out({"ood": {"level": one}}) for one in ("flagged", "override")] == [True, True]
