"""Faults that the build itself must stop at, naming group and column; each was seen in a system of before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pipeline_lib.errors import ContractError
from pipeline_lib.features import assemble, part
from pipeline_lib.features.columns import Values
from pipeline_lib.features.generator import Arrays, Generator
from pipeline_lib.features.groups import GROUPS
from pipeline_lib.features.material import Material

Made = Callable[[Generator, Material, Arrays, Values], Values]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Made], None]:
    """Replace how a group is made."""

    def planted(name: str, make: Made) -> None:
        honest = GROUPS[name]

        def faulty(shape, policy) -> Generator:
            own = honest(shape, policy)
            return replace(own, make=lambda m, learnt, made: make(own, m, learnt, made))

        monkeypatch.setitem(GROUPS, name, faulty)

    return planted


def many_rechecks() -> dict:
    return {"features": {"work": {"recheck_rows": 40}}}


def test_a_cutoff_that_is_off_by_one_day(plant, rebuilt):
    def one_day_more(own: Generator, m: Material, learnt: Arrays, made: Values) -> Values:
        seen = m.stream.events.day[np.minimum(m.stream.high, len(m.stream.events) - 1)] == m.stream.cutoff + 1
        return {name: values + seen for name, values in own.make(m, learnt, made).items()}

    plant("derived_temporal", one_day_more)
    with pytest.raises(ContractError, match=r"group derived_temporal: column \w+ of customer .* \(alone\)"):
        rebuilt(overrides=many_rechecks())


def test_a_value_that_depends_on_the_other_rows(plant, rebuilt):
    def against_the_mean(own: Generator, m: Material, learnt: Arrays, made: Values) -> Values:
        return {name: values - np.nanmean(values) for name, values in own.make(m, learnt, made).items()}

    plant("derived_temporal", against_the_mean)
    with pytest.raises(ContractError, match=r"group derived_temporal: column total_acquisitions of customer"):
        rebuilt()


def test_rows_taken_for_time(plant, rebuilt):
    def running(own: Generator, m: Material, learnt: Arrays, made: Values) -> Values:
        return {name: np.cumsum(values) for name, values in own.make(m, learnt, made).items()}

    plant("derived_temporal", running)
    with pytest.raises(ContractError, match=r"group derived_temporal: column total_acquisitions of customer"):
        rebuilt()


def test_a_scaler_that_saw_val(monkeypatch, rebuilt):
    monkeypatch.setattr(part, "scaled_by", lambda rows: rows["split"].is_in(["train", "val"]).to_numpy())
    with pytest.raises(ContractError, match=r"group demographics: column age is scaled with mean .* train rows'"):
        rebuilt()


def test_groups_in_another_order(monkeypatch, rebuilt):
    honest = part.write_matrix

    def swapped(out, name, keys, names, values) -> None:
        honest(out, name, keys, [*names[1:], names[0]], np.roll(values, -1, axis=1))

    monkeypatch.setattr(part, "write_matrix", swapped)
    with pytest.raises(ContractError, match="group demographics: expected column age at place 0, found income"):
        rebuilt()


def test_a_column_appended_to_the_table(monkeypatch, rebuilt):
    honest = part.write_matrix

    def appended(out, name, keys, names, values) -> None:
        more = [*names, "age__log"] if name == part.RAW else names
        honest(out, name, keys, more, np.hstack([values, values[:, :1]]) if name == part.RAW else values)

    monkeypatch.setattr(part, "write_matrix", appended)
    with pytest.raises(ContractError, match=r"the last product_history_multihot.hist_\w+, found age__log"):
        rebuilt()


def test_a_group_of_zeros(plant, rebuilt):
    def zeros(own: Generator, m: Material, learnt: Arrays, made: Values) -> Values:
        return {column.name: np.zeros(len(m)) for column in own.columns}

    plant("economics", zeros)
    with pytest.raises(ContractError, match="group economics: column income_elasticity and 16 more are 0 in every"):
        rebuilt()


def test_a_group_that_makes_other_columns_than_it_declares(plant, rebuilt):
    def fewer(own: Generator, m: Material, learnt: Arrays, made: Values) -> Values:
        return dict(list(own.make(m, learnt, made).items())[1:])

    plant("txn_rolling", fewer)
    with pytest.raises(ContractError, match="group txn_rolling: declared"):
        rebuilt()


def test_an_infinite_value(plant, rebuilt):
    def infinite(own: Generator, m: Material, learnt: Arrays, made: Values) -> Values:
        return {
            name: np.where(values == values[0], np.inf, values) for name, values in own.make(m, learnt, made).items()
        }

    plant("txn_rolling", infinite)
    with pytest.raises(ContractError, match="group txn_rolling: infinite values in roll_7d_sum"):
        rebuilt()


def test_a_range_that_is_missing(monkeypatch, rebuilt):
    honest = assemble.assemble
    monkeypatch.setattr(
        "pipeline_lib.features.build.assemble.assemble",
        lambda out, recipe, inputs, parts, threads: honest(out, recipe, inputs, parts[:-1], threads),
    )
    with pytest.raises(ContractError, match=r"the ranges hold \d+ rows, expected the \d+ of split_assignment"):
        rebuilt(overrides={"features": {"work": {"range_customers": 60}}})
