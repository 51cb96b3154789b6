"""Compiled forests against LightGBM itself: the same bits of the same scores, or a refusal; never a crash."""

from __future__ import annotations

import math
import random
import shutil
import struct
import sysconfig
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_lib.errors import ContractError
from pipeline_lib.forest import compiled, layout
from pipeline_lib.forest.compiling import compile_text, floor32
from pipeline_lib.forest.layout import Forest
from pipeline_lib.serve import engine
from pipeline_lib.serve.kernel import Compiled, Kernel, LibraryFailed, find_kernel
from pipeline_lib.serve.lightgbm_c import Booster, Library, find_library
from pipeline_lib.serve.oracle import require_same
from pipeline_lib.serve.trees import Trees

from .forest_texts import EDGES, NAMES, POOL, row, text

LIBRARY = Library(find_library())
SHAPES = {
    "few_leaves": {"leaves": 8},
    "every_bit_of_32": {"leaves": 32, "trees": 12},
    "every_bit_of_64": {"leaves": 64, "trees": 4},
    "more_leaves_than_bits": {"leaves": 120, "trees": 3},
    "many_outputs": {"outputs": 5, "trees": 3},
    "single_leaves": {"leaves": 1},
    "categories": {"sets": True, "leaves": 12},
    "zero_as_missing": {"zeros": True, "leaves": 12},
    "everything": {"sets": True, "zeros": True, "leaves": 70, "outputs": 2},
}
MASKS = {"few_leaves": 32, "every_bit_of_32": 32, "every_bit_of_64": 64, "many_outputs": 32, "single_leaves": 32}


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    try:
        yield Kernel(find_kernel())
    except LibraryFailed as error:
        pytest.skip(str(error))


def shape(name: str, seed: int) -> tuple[str, bytes, random.Random]:
    rng = random.Random(seed)
    made = text(rng, **SHAPES[name])
    return made, compile_text(made, name), rng


@pytest.mark.parametrize("name", SHAPES)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_every_row_has_lightgbms_scores_to_the_last_bit(kernel: Kernel, name: str, seed: int) -> None:
    made, data, rng = shape(name, seed)
    forest = Forest(data)
    assert forest.features == tuple(NAMES)
    own, ours, plain = Booster(LIBRARY, forest, made.encode(), Trees(forest)), kernel.model(forest), Trees(forest)
    again = LIBRARY.model(forest)
    for _ in range(12):
        values = row(rng, POOL + EDGES)
        expected = own.raw(values)
        assert ours.raw(values) == expected, values
        assert plain.raw(values) == expected, values
        assert again.raw(values) == expected, values


@pytest.mark.parametrize("name", MASKS)
def test_bit_vectors_hold_what_they_can(name: str) -> None:
    widest = max((Forest(shape(name, seed)[1]) for seed in range(9)), key=lambda forest: forest.mask_bits)
    assert widest.mask_bits == MASKS[name]


@pytest.mark.parametrize("name", ["more_leaves_than_bits", "categories", "zero_as_missing"])
def test_what_bit_vectors_cannot_hold_is_walked(name: str) -> None:
    assert Forest(shape(name, 1)[1]).mask_bits == 0


@pytest.mark.parametrize("name", SHAPES)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_kernel_and_plain_python_explain_alike_and_add_up(kernel: Kernel, name: str, seed: int) -> None:
    _, data, rng = shape(name, seed)
    ours, plain, values = kernel.model(Forest(data)), Trees(Forest(data)), row(rng, POOL)
    for output, score in enumerate(ours.raw(values)):
        bias, parts = ours.contributions(values, output)
        assert (bias, parts) == plain.contributions(values, output)
        assert bias + sum(parts) == pytest.approx(score, abs=1e-12)


@settings(max_examples=300)
@given(st.floats(allow_nan=False) | st.sampled_from(POOL + EDGES))
def test_a_rounded_threshold_lets_the_same_float32_pass(exact: float) -> None:
    low = floor32(exact)
    assert low <= exact
    assert array("f", [low])[0] == low
    with np.errstate(over="ignore"):
        above = float(np.nextafter(np.float32(low), np.float32(np.inf)))
    assert above > exact or low == math.inf


TRAINED = {
    "missing": {},
    "zero_as_missing": {"zero_as_missing": True},
    "no_missing": {"use_missing": False},
    "categories": {"categorical_feature": [0, 3], "min_data_per_group": 1, "cat_smooth": 1, "max_cat_to_onehot": 1},
    "deep": {"num_leaves": 120, "min_child_samples": 1},
}


@pytest.mark.parametrize("how", TRAINED)
@pytest.mark.parametrize("objective", ["binary", "multiclass", "regression", "poisson"])
def test_trained_models_give_lightgbms_own_predictions(kernel: Kernel, how: str, objective: str) -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(400, 5)).astype(np.float32)
    x[:, [0, 3]] = rng.integers(0, 40, size=(400, 2))
    x[rng.random(x.shape) < 0.1] = 0
    y = np.nan_to_num(x[:, 0] % 3 + (x[:, 1] > 0))
    y = {"binary": y > 1, "multiclass": y.astype(int) % 3, "regression": y, "poisson": y}[objective].astype(float)
    x[rng.random(x.shape) < (0 if how == "no_missing" else 0.15)] = np.nan
    params = {"objective": objective, "num_leaves": 15, "min_child_samples": 3, "verbosity": -1, "num_threads": 1}
    params |= TRAINED[how] | ({"num_class": 3} if objective == "multiclass" else {})
    sets = params.pop("categorical_feature", [])
    booster = lgb.train(params, lgb.Dataset(x, y, categorical_feature=sets), 12)
    forest = Forest(compile_text(booster.model_to_string(), how))
    assert (forest.sets > 0) == (how == "categories")
    ours = kernel.model(forest)
    from pipeline_lib.serve import calibrate

    rows = np.vstack([x, rng.normal(size=(100, 5)).astype(np.float32) * 1e3])
    raw = np.array([ours.raw(array("f", r)) for r in rows.tolist()])
    assert np.array_equal(raw.squeeze(), booster.predict(rows, raw_score=True, num_threads=1))
    outputs = np.array([calibrate.outputs(forest.objective, forest.parameter, r) for r in raw.tolist()])
    assert outputs.squeeze() == pytest.approx(booster.predict(rows, num_threads=1), rel=1e-14)


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ("is_linear=0", "is_linear=1", "linear"),
        ("version=v4", "average_output", "averages"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=4", "outputs"),
        ("version=v4", "objective=lambdarank", "lambdarank"),
        ("version=v4", "objective=regression sqrt", "sqrt"),
        ("left_child=", "left_child=0 ", "left_child"),
        ("max_feature_idx=4", "max_feature_idx=7", "feature names"),
        ("Tree=0", "Tree=zero", ""),
    ],
)
def test_a_text_that_cannot_be_compiled_is_refused_by_name(was: str, becomes: str, says: str) -> None:
    made = text(random.Random(3), leaves=8)
    assert compile_text(made, "x")
    if becomes == "Tree=zero":
        made, becomes = made.replace("leaf_value=", "leaf="), ""
    with pytest.raises(ContractError, match=rf"churn/model\.txt.*{says}"):
        compile_text(made.replace(was, becomes), "churn/model.txt")


def test_children_that_run_in_circles_are_refused() -> None:
    made = text(random.Random(3), trees=1, leaves=8)
    line = next(line for line in made.split("\n") if line.startswith("left_child="))
    circle = "left_child=" + " ".join(["0"] * len(line.removeprefix("left_child=").split()))
    with pytest.raises(ContractError, match="circles"):
        compile_text(made.replace(line, circle), "x")


def test_the_same_text_compiles_to_the_same_bytes() -> None:
    assert shape("everything", 5)[1] == shape("everything", 5)[1]


@pytest.mark.parametrize("name", ["few_leaves", "every_bit_of_64", "everything"])
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_altered_bytes_are_refused_or_answered_and_never_crash(kernel: Kernel, name: str, data: st.DataObject) -> None:
    _, good, rng = shape(name, 7)
    bad = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        place = st.integers(0, layout.HEADER.size - 1) | st.integers(0, len(good) - 1)
        bad[data.draw(place)] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([len(bad)] * 3 + [len(bad) - 1, len(bad) // 2, 70]))
    for one in (kernel, LIBRARY):
        survives(one, bytes(bad[:cut]), rng)


def survives(one: engine.Engine, data: bytes, rng: random.Random) -> None:
    """Refused with a named error, or answered."""
    try:
        model = one.model(Forest(data))
        values = array("f", [rng.gauss(0, 1) for _ in range(model.forest.width)])
        model.contributions(values, 0)
        model.raw(values)
    except (ContractError, LibraryFailed):
        return


def test_every_broken_promise_is_named(kernel: Kernel) -> None:
    good = shape("few_leaves", 2)[1]
    sections, nodes = Forest(good).sections(), Forest(good).nodes
    assert nodes > 6

    def broken(section: str, offset: int, kind: str, value: int) -> bytes:
        made = bytearray(good)
        struct.pack_into(kind, made, sections[section][0] + offset, value)
        return bytes(made)

    cases = {
        broken("node", 8, "<H", 5): layout.PROMISES[7],
        broken("node", 12, "<h", 0): layout.PROMISES[6],
        broken("node", 14, "<h", 900): layout.PROMISES[6],
        broken("node", 10, "<B", 1): layout.PROMISES[8],
        broken("tree", 0, "<H", 6): layout.PROMISES[9],
        broken("start", 4, "<I", nodes + 1): layout.PROMISES[9],
        broken("first_leaf", 4, "<I", 60_000): layout.PROMISES[5],
        good[:64] + bytes(8) + good[64:]: layout.PROMISES[4],
        good[:8] + struct.pack("<I", 9) + good[12:]: "layout 9",
        b"plforesx" + good[8:]: "no compiled forest",
        good[:40]: "no compiled forest",
    }
    for data, promise in cases.items():
        with pytest.raises(ContractError, match=promise):
            kernel.model(Forest(data))


@pytest.mark.parametrize("outputs", [0, 7, 2**32 - 1])
def test_outputs_without_trees_of_their_own_are_refused_before_room_is_made_for_them(outputs: int) -> None:
    """An altered count once took all memory there was: LightGBM believes its text."""
    good = shape("few_leaves", 2)[1]
    with pytest.raises(ContractError, match="trees for every output"):
        Forest(good[:16] + struct.pack("<I", outputs) + good[20:])


def test_a_tree_without_a_leaf_left_is_an_error_not_an_answer(kernel: Kernel) -> None:
    good = shape("few_leaves", 2)[1]
    at, size = Forest(good).sections()["mask"]
    model = kernel.model(Forest(good[:at] + bytes(size) + good[at + size :]))
    with pytest.raises(LibraryFailed, match="leaf left"):
        model.raw([1e30] * 5)


def test_rows_of_another_length_and_outputs_that_do_not_exist_are_refused(kernel: Kernel) -> None:
    model: Compiled = kernel.model(Forest(shape("many_outputs", 2)[1]))
    for values in ([], [0.0] * 4, [0.0] * 6):
        with pytest.raises(ContractError, match="5 features"):
            model.raw(values)
        with pytest.raises(ContractError, match="5 features"):
            model.contributions(values)
    for output in (-1, 5):
        with pytest.raises(IndexError):
            model.contributions([0.0] * 5, output)


def test_where_there_is_a_compiler_the_kernel_was_built() -> None:
    """Else the tests above are skipped and nobody notices."""
    compiler = str(sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here: LightGBM's library answers")
    assert find_kernel()


def test_no_kernel_or_something_else_in_its_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LibraryFailed, match="without a C compiler"):
        find_kernel(str(tmp_path))
    (tmp_path / "forest.so").write_bytes(b"no object")
    with pytest.raises(LibraryFailed, match="cannot be loaded"):
        Kernel(find_kernel(str(tmp_path)))


def test_a_kernel_of_another_layout_is_refused(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_lib.serve.kernel.VERSION", 99)
    with pytest.raises(LibraryFailed, match="install again"):
        Kernel(find_kernel())


def test_without_a_kernel_lightgbms_library_predicts_and_explains_the_same(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, data, rng = shape("everything", 11)
    fast, values = engine.open_engine().model(Forest(data)), row(rng, POOL)

    def missing() -> str:
        raise LibraryFailed("no kernel here")

    monkeypatch.setattr(engine, "find_kernel", missing)
    slow: Any = engine.open_engine().model(Forest(data))
    assert isinstance(slow, Booster)
    assert slow.raw(values) == fast.raw(values)
    assert slow.contributions(values, 1) == fast.contributions(values, 1)


def test_the_oracle_finds_a_leaf_that_was_altered(kernel: Kernel) -> None:
    good = shape("single_leaves", 3)[1]
    at, _ = Forest(good).sections()["leaf"]
    bad = bytearray(good)
    bad[at + 4] ^= 1
    oracle = LIBRARY.model(Forest(good))
    require_same(kernel.model(Forest(good)), oracle, [[0.0] * 5], "churn")
    with pytest.raises(ContractError, match="churn: row 0"):
        require_same(kernel.model(Forest(bytes(bad))), oracle, [[0.0] * 5], "churn")


def test_only_a_models_text_has_a_compiled_file_beside_it() -> None:
    assert compiled("students/churn_signal/direct.txt") == "students/churn_signal/direct.forest"
    assert compiled("students/churn_signal/student.json") is None
    assert compiled("policy/note.txt") is None
