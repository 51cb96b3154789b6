"""Similar cases over a real record and a real LanceDB."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from pipeline_lib.audit import load
from pipeline_lib.audit.similar import feed, vector
from pipeline_lib.audit.similar.search import Wanted, similar
from pipeline_lib.errors import RequestRefused
from pipeline_lib.store import LOAD_STATE, QueryStore

When = Callable[[str], datetime]
V1 = "v20260413-00000001"


def because(feature: str, value: str = "0.3", **known: Any) -> dict[str, Any]:
    """An attribution row that names one feature beside a common one."""
    common = {"feature": "common", "contribution": "0.1", "rank": 2}
    return {"attribution": {"top_features": [{"feature": feature, "contribution": value, "rank": 1}, common], **known}}


@pytest.fixture
def asked(bank: Any, when: When) -> tuple[Any, str, dict[str, str]]:
    """A record of one answer to ask about and others before and after it, by what they are."""
    at = when("2026-04-15 14:37")
    bank.release(when("2026-01-01 03:05"), V1, training_snapshot_hash="d" * 64)
    other_product = {"recommended": [{"rank": 1, "product_id": "mortgage", "task": "churn_signal"}]}
    flagged = {"ood": {"distance": "8.0", "flag_over": "7.1", "level": "flagged"}}
    made = {
        "old": bank.decide(at - timedelta(days=91), "1", V1, **because("income")),
        "same": bank.decide(at - timedelta(days=89), "2", V1, **because("income")),
        "close": bank.decide(at - timedelta(days=9), "3", V1, **because("income", "0.2")),
        "opposite": bank.decide(at - timedelta(days=8), "4", V1, **because("income", "-0.3")),
        "product": bank.decide(at - timedelta(days=7), "5", V1, prediction=other_product, **because("income")),
        "flagged": bank.decide(at - timedelta(days=6), "6", V1, guardrail=flagged, **because("income")),
        "task": bank.decide(at - timedelta(days=5), "7", V1, **because("income", task="next_mcc")),
        "student": bank.decide(at - timedelta(days=4), "8", V1, **because("income", method="student_contrib")),
        "later": bank.decide(at + timedelta(days=1), "9", V1, **because("income")),
    }
    own = bank.decide(at, "10", V1, **because("income"))
    bank.commit(at + timedelta(days=2))
    return bank, own, made


def found(bank: Any, wanted: Wanted, names: dict[str, str]) -> list[str]:
    by_id = {prediction: name for name, prediction in names.items()}
    return [by_id[case["prediction_id"]] for case in similar(bank.settings, wanted)["cases"]]


def test_the_most_alike_come_first_within_window_filters_and_gates(asked: Any) -> None:
    bank, own, names = asked
    assert found(bank, Wanted(own), names) == ["same", "close", "opposite"]
    cases = similar(bank.settings, Wanted(own))["cases"]
    assert [case["cosine"] for case in cases][0] == "1.000000"
    assert (cases[0]["training_snapshot"], cases[0]["verdict"], cases[0]["outcome"]) == ("d" * 64, "pass", None)


def test_the_cosine_is_that_of_the_vectors(asked: Any) -> None:
    bank, own, names = asked
    store = QueryStore(bank.settings.place.query_store)
    rows = {row["prediction_id"]: np.array(row["vec"]) for name in feed.tables(store.names())
            for row in store.read(name).to_pylist()}  # fmt: skip
    for case in similar(bank.settings, Wanted(own))["cases"]:
        one, two = rows[own], rows[case["prediction_id"]]
        expected = one @ two / np.linalg.norm(one) / np.linalg.norm(two)
        assert float(case["cosine"]) == pytest.approx(expected, abs=2e-6)


def test_each_filter_can_be_left_out(asked: Any) -> None:
    bank, own, names = asked
    everything = set(found(bank, Wanted(own, same=()), names))
    assert everything == {"same", "close", "opposite", "product", "flagged", "task"}
    assert set(found(bank, Wanted(own, same=("task", "ood_flagged")), names)) == everything - {"flagged", "task"}


def test_answers_without_gates_are_left_out_unless_asked_for(asked: Any) -> None:
    bank, own, names = asked
    assert "student" not in found(bank, Wanted(own), names)
    assert "student" in found(bank, Wanted(own, without_gates_too=True), names)
    assert found(bank, Wanted(names["student"]), names) == []


def test_the_window_is_before_the_answer_and_can_be_widened(asked: Any) -> None:
    bank, own, names = asked
    assert "old" in found(bank, Wanted(own, window_days=92), names)
    assert "same" not in found(bank, Wanted(own, window_days=88), names)


def test_the_nearest_k_are_the_nearest(asked: Any) -> None:
    bank, own, names = asked
    assert found(bank, Wanted(own, k=1), names) == ["same"]


def test_nothing_a_later_checkpoint_covered_is_seen(asked: Any, when: When) -> None:
    bank, own, names = asked
    late = bank.decide(when("2026-04-15 12:00"), "11", V1, **because("income"))
    bank.commit(when("2026-04-20 12:00"))
    assert "late" in found(bank, Wanted(own), {**names, "late": late})
    assert "late" not in found(bank, Wanted(own, as_of_ckpt=1), {**names, "late": late})


def test_what_has_no_vector_or_is_of_another_space_is_refused(asked: Any) -> None:
    bank, own, _ = asked
    with pytest.raises(RequestRefused, match="no explanation vector"):
        similar(bank.settings, Wanted("f" * 32))
    with pytest.raises(RequestRefused, match="xv2"):
        similar(bank.settings, Wanted(own, space="xv2"))
    with pytest.raises(RequestRefused, match="colour"):
        similar(bank.settings, Wanted(own, same=("colour",)))
    with pytest.raises(RequestRefused, match="at least 1"):
        similar(bank.settings, Wanted(own, k=0))


def vectors(bank: Any) -> list[str]:
    store = QueryStore(bank.settings.place.query_store)
    return sorted(i for name in feed.tables(store.names()) for i in store.read(name)["prediction_id"].to_pylist())


def test_every_explained_answer_has_one_vector_however_often_it_is_fed(asked: Any) -> None:
    bank, own, names = asked
    expected = sorted([own, *names.values()])
    assert vectors(bank) == expected
    store = QueryStore(bank.settings.place.query_store)
    (first, *_) = feed.tables(store.names())
    store.replace(first, store.read(first).slice(1))
    store.drop([feed.STATE])
    load.load(bank.settings)
    assert vectors(bank) == expected
    load.rebuild(bank.settings)
    assert vectors(bank) == expected
    assert LOAD_STATE in store.names()


def test_an_answer_whose_partner_is_missing_has_a_vector_with_unknown_columns(bank: Any, when: When) -> None:
    own = bank.decide(when("2026-04-15 14:37"), "1", V1, without=("guardrail",))
    bank.commit(when("2026-04-15 15:00"))
    store = QueryStore(bank.settings.place.query_store)
    (row,) = store.read(feed.tables(store.names())[0]).to_pylist()
    assert (row["prediction_id"], row["ood_flagged"], row["verdict"]) == (own, None, None)


def test_a_large_table_gets_an_index_that_finds_the_same(
    bank: Any, when: When, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real IVF-PQ over vectors as they come; recall at a million is benchmarks/audit_similar.py."""
    policy = bank.settings.audit.similar.model_copy(update={"index_rows": 300})
    settings = bank.settings.model_copy(update={"audit": bank.settings.audit.model_copy(update={"similar": policy})})
    rng = np.random.default_rng(3)
    rows = [_row(at, rng) for at in range(400)]
    store = QueryStore(settings.place.query_store)
    name = f"{feed.TABLE}__2026q2"
    store.append(name, feed.pa.Table.from_pylist(rows, schema=feed.SCHEMA))
    before = similar(settings, Wanted(rows[-1]["prediction_id"], k=10))
    assert store.indexed(name, feed.COLUMN) is None
    feed._index(settings, store, name)
    assert store.indexed(name, feed.COLUMN) == 400
    after = similar(settings, Wanted(rows[-1]["prediction_id"], k=10))
    ids = [{case["prediction_id"] for case in one["cases"]} for one in (before, after)]
    assert len(ids[0] & ids[1]) >= 9


def _row(at: int, rng: np.random.Generator) -> dict[str, Any]:
    vec = rng.normal(size=vector.DIMENSIONS).astype(np.float32)
    return {
        "vec_id": f"xv1:{at}", "prediction_id": f"{at:032x}", "space": "xv1", "task": "churn_signal",
        "ts": f"2026-04-15T05:{at // 60:02}:{at % 60:02}.000000Z", "product_category": "saving", "ood_flagged": False,
        "has_gates": True, "ckpt_n": 1, "vec": vec.tolist(),
    }  # fmt: skip
