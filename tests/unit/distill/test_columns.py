"""Three-stage column selection. Source: distillation.md section 8."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_lib.distill import columns
from pipeline_lib.errors import SettingsError
from pipeline_lib.settings.distillation import SchemaColumn, Segment

SCHEMA = {
    "columns": [{"name": "a", "group": "g"}, {"name": "b", "group": "h"}, {"name": "c", "group": "g"}],
    "groups": [
        {"name": "g", "distil": True, "available": True},
        {"name": "h", "distil": False, "available": True},
        {"name": "gone", "distil": True, "available": False, "why": "no cards"},
    ],
    "dropped": [{"name": "d", "group": "g", "why": "no income"}],
}
GAINS = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3), st.floats(0, 1e6).map(lambda g: round(g, 3)), min_size=1, max_size=40
)


def test_only_columns_of_groups_offered_to_students_are_candidates():
    assert columns.candidates(SCHEMA) == ("a", "c")


def test_a_mandatory_column_that_is_not_there_is_an_error_naming_key_column_and_group():
    wanted = {"mpc": SchemaColumn(group="g", column="savings")}
    with pytest.raises(SettingsError, match=r"mandatory\.mpc: no column savings; group g"):
        columns.resolve(wanted, ("a", "c"), SCHEMA, "mandatory")
    with pytest.raises(SettingsError, match="not in the schema"):
        columns.resolve({"x": SchemaColumn(group="typo", column="a1")}, ("a", "c"), SCHEMA, "mandatory")
    with pytest.raises(SettingsError, match="not offered"):
        columns.resolve({"x": SchemaColumn(group="h", column="b")}, ("a", "c"), SCHEMA, "mandatory")


def test_a_source_that_lacks_the_group_is_excused_and_says_why():
    wanted = {
        "peak": SchemaColumn(group="gone", column="p"),
        "first": SchemaColumn(group="g", column="a"),
        "ratio": SchemaColumn(group="g", column="d"),
    }
    assert columns.resolve(wanted, ("a", "c"), SCHEMA, "mandatory") == (
        {"first": "a"},
        {"peak": "group gone is not available: no cards", "ratio": "column d was dropped: no income"},
    )


def test_the_smallest_prefix_that_reaches_the_share_is_kept_in_schema_order():
    gains = {"z": 1.0, "y": 60.0, "x": 0.0, "w": 36.0, "v": 3.0}
    assert columns.select(gains, cumulative=0.95, least=1, most=9, mandatory={}) == ("y", "w")
    assert columns.select(gains, cumulative=0.97, least=1, most=9, mandatory={}) == ("y", "w", "v")
    assert columns.select(gains, cumulative=0.97, least=1, most=1, mandatory={"m": "x"}) == ("y", "x")


def test_zero_gain_columns_go_but_never_below_the_minimum():
    gains = {"a": 5.0, "b": 0.0, "c": 0.0, "d": 1.0}
    assert columns.select(gains, cumulative=1.0, least=1, most=9, mandatory={}) == ("a", "d")
    assert columns.select(gains, cumulative=0.5, least=3, most=9, mandatory={}) == ("a", "b", "d")


def test_ties_break_by_name_and_not_by_position():
    tied = {"c": 1.0, "a": 1.0, "b": 1.0}
    assert columns.select(tied, cumulative=0.1, least=2, most=2, mandatory={}) == ("a", "b")


@given(GAINS, st.floats(0.01, 1), st.integers(1, 50), st.integers(0, 50))
def test_size_order_and_mandatory_columns_hold_for_any_gains(gains, cumulative, least, more):
    must = {"concept": sorted(gains)[0]}
    kept = columns.select(gains, cumulative=cumulative, least=least, most=least + more, mandatory=must)
    assert list(kept) == [name for name in gains if name in set(kept)]
    assert must["concept"] in kept
    assert min(least, len(gains)) <= len(kept) <= min(least + more, len(gains)) + 1


def test_segments_partition_the_known_values():
    segments = {"age": Segment(group="g", column="a", edges=[35.0, 55.0])}
    values = np.array([20.0, 35.0, 60.0, np.nan])
    masks = columns.segment_masks(segments, {"age": values})
    assert list(masks) == ["age[-inf,35)", "age[35,55)", "age[55,inf)"]
    assert [mask.tolist().index(True) for mask in masks.values()] == [0, 1, 2]
    assert sum(mask.sum() for mask in masks.values()) == 3
