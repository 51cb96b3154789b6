"""The table that leaves the stage."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
import torch
from torch import Tensor

from pipeline_lib.teacher.explain.attribution import Attributor
from pipeline_lib.teacher.explain.ood import Shape, calibrated
from pipeline_lib.teacher.explain.outputs import SCHEMA, Explainer, attribution_columns, explanation_table
from pipeline_lib.teacher.explain.view import CausalView
from pipeline_lib.teacher.frame import Batch
from tests.unit.teacher.explain.worlds import COLUMNS, CPU, KnownDrivers, frame_of, known_rows

NAMES = tuple(f"c{i}" for i in range(COLUMNS))
N = 60


class Partly(KnownDrivers):
    """Rows whose first column is below the level lack the expert's input."""

    def available(self, batch: Batch) -> Tensor:
        return batch.x[:, 0] > 6.0


def table(batch_rows: int) -> tuple[pl.DataFrame, Explainer, Tensor]:
    x = known_rows(N, 0)[0]
    view = CausalView(Partly(), range(COLUMNS))
    frame = frame_of(x, ["gate"] * N)
    readout = torch.eye(1 + COLUMNS)[0]
    known = frame_of(known_rows(900, 5)[0], ["fit"] * 900).batch(torch.arange(900))
    z, own = view.latent(known), view.own(known.x)
    shape = Shape.of(z[:600], own[:600], "full", "latent_and_inputs")
    reference = calibrated(
        shape, shape.distances(z[600:], own[600:]), rate=0.05, override_rate=0.01, rows_fit=600, calibrated_on="calib",
        as_of="2026-01-05",
    )  # fmt: skip
    explainer = Explainer(view, NAMES, reference, Attributor(view, readout, torch.zeros(COLUMNS), None), 5)
    return explanation_table(explainer, frame, torch.arange(N), batch_rows, CPU), explainer, x


def test_the_table_has_the_declared_columns() -> None:
    found, _, _ = table(16)
    assert dict(found.drop("customer_key", "cutoff_date").schema) == SCHEMA
    assert found["customer_key"].to_list() == list(range(N))


def test_a_row_says_the_same_in_any_batch() -> None:
    assert table(7)[0].equals(table(60)[0])


def test_rows_without_the_input_say_nothing() -> None:
    found, _, x = table(16)
    has = (x[:, 0] > 6.0).numpy()
    assert 0 < has.sum() < N
    for name in SCHEMA:
        assert (found[name].is_not_null().to_numpy() == has).all(), name


def test_the_largest_columns_come_first_with_their_signs() -> None:
    values = np.array([[0.1, -3.0, 2.0, 0.0], [1.0, 1.0, -1.0, 5.0]], dtype=np.float32)
    names, amounts, _ = attribution_columns(values, ("a", "b", "c", "d"), 3)
    assert names.to_list() == [["b", "c", "a"], ["d", "a", "b"]]
    assert np.allclose(amounts.to_list(), [[-3, 2, 0.1], [5, 1, 1]])


def test_the_hash_pins_the_whole_vector() -> None:
    values = np.array([[0.1, -3.0, 2.0]], dtype=np.float32)
    _, _, hashes = attribution_columns(values, ("a", "b", "c"), 1)
    assert hashes[0] == hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()
    values[0, 0] += 1e-6
    assert attribution_columns(values, ("a", "b", "c"), 1)[2][0] != hashes[0]


def test_the_score_is_the_distance_and_the_flag_its_comparison() -> None:
    found, explainer, _ = table(16)
    known = found.drop_nulls("ood_score")
    assert explainer.reference is not None
    assert explainer.reference.threshold is not None
    beyond = known["ood_score"].to_numpy() > explainer.reference.threshold
    assert (known["ood_flag"].to_numpy() == beyond).all()


def test_without_a_causal_expert_every_explanation_is_null() -> None:
    found = explanation_table(None, frame_of(known_rows(5, 0)[0], ["gate"] * 5), torch.arange(5), 2, CPU)
    assert dict(found.drop("customer_key", "cutoff_date").schema) == SCHEMA
    assert found.select(SCHEMA.keys()).null_count().row(0) == (5,) * len(SCHEMA)
