"""Who received an offer, from rows as the function writes them."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline_lib.business_time import utc_now
from pipeline_lib.monitor import fairness, served
from pipeline_lib.monitor.fairness import compare
from pipeline_lib.monitor.served import Served
from pipeline_lib.settings.monitoring import Fairness
from tests.unit.gate.promotion_world import World
from tests.unit.monitor.answers import Answer, serve


def people(gender: str, n: int, offered: int, **known: Any) -> list[Answer]:
    return [Answer(f"{gender}{i}", groups={"gender": gender}, offered=i < offered, **known) for i in range(n)]


def readings(world: World) -> dict[tuple[str, str], dict[str, Any]]:
    return {(str(one["about"]), str(one["statistic"])): one for one in fairness.nightly(world.settings)}


def test_equal_groups_are_ok(small: World) -> None:
    serve(small.settings, [*people("M", 100, 50), *people("F", 100, 50)])
    found = readings(small)
    assert found["gender", "DI"]["state"] == found["gender", "SPD"]["state"] == "OK"
    assert found["gender", "DI"]["value"] == "1.000000000"


@pytest.mark.parametrize(("women", "di"), [(30, "0.6"), (80, "1.6")], ids=["fewer", "more"])
def test_a_group_outside_the_limits_fails_on_either_side(small: World, women: int, di: str) -> None:
    serve(small.settings, [*people("M", 100, 50), *people("F", 100, women)])
    found = readings(small)
    assert found["gender", "DI"]["state"] == found["gender", "SPD"]["state"] == "FAIL"
    assert str(found["gender", "DI"]["value"]).startswith(di)
    assert f"F against M: DI {di}000 ({women} of 100 against 50 of 100)" in str(found["gender", "DI"]["cause"])


def test_the_worst_group_is_the_headline(small: World) -> None:
    serve(small.settings, [*people("M", 100, 50), *people("F", 100, 49), *people("U", 100, 20)])
    assert str(readings(small)["gender", "DI"]["cause"]).startswith("U against M")


def test_a_group_below_the_minimum_is_unknown_and_never_ok(small: World) -> None:
    serve(small.settings, [*people("M", 100, 50), *people("F", 99, 1)])
    found = readings(small)["gender", "DI"]
    assert (found["state"], found["value"]) == ("UNKNOWN", None)
    assert "at most 99 of another" in found["cause"]


def test_what_the_source_does_not_record_is_unknown(small: World) -> None:
    serve(small.settings, people("M", 3, 3))
    found = readings(small)
    assert found["disability", "DI"]["cause"] == "disability is in none of 3 answers"
    assert found["gender", "DI"]["cause"] == "all 3 answers with gender are of one group"
    assert found["all attributes", "EOD"]["state"] == "UNKNOWN"
    assert {one["state"] for one in found.values()} == {"UNKNOWN"}


def test_an_offer_that_was_not_delivered_is_no_offer(small: World) -> None:
    serve(small.settings, [*people("M", 100, 50), *people("F", 100, 50, delivered=False)])
    assert readings(small)["gender", "DI"]["value"] == "0.000000000"


def test_the_counts_behind_a_comparison_are_in_the_record(small: World) -> None:
    serve(small.settings, [*people("M", 100, 50), *people("F", 100, 30)])
    shown = list(readings(small).values())
    (row,) = small.rows("fairness_window")
    details = row.payload["details"]
    assert details["readings"] == shown
    assert (details["comparisons_made"], details["comparisons_judged"], details["n"]) == (2, 2, 200)
    di = next(one for one in details["comparisons"] if one["metric"] == "DI")
    assert [di[name] for name in ("n_g", "x_g", "n_r", "x_r", "state")] == [100, 30, 100, 50, "BREACH_POINT"]
    assert (di["attribute"], di["group"], di["reference"]) == ("gender", "F", "M")
    assert float(di["ci_low"]) < float(di["value"]) < float(di["ci_high"]) < 1
    assert 0.001 < float(di["p_value"]) < 0.01


def test_only_the_window_is_read(small: World) -> None:
    serve(small.settings, people("M", 3, 3))
    days = timedelta(days=small.settings.monitoring.window_days)
    now = utc_now()
    assert len(served.window(small.settings, now).answers) == 3
    assert served.window(small.settings, now + days).answers == ()
    assert served.window(small.settings, now - timedelta(hours=1)).answers == ()


def test_a_window_is_the_same_when_it_is_read_again_after_more_rows(small: World) -> None:
    serve(small.settings, people("M", 3, 3))
    end = utc_now()
    before = served.window(small.settings, end)
    serve(small.settings, people("F", 3, 0))
    assert served.window(small.settings, end) == before
    assert len(served.window(small.settings).answers) == 6


LIMITS = Fairness(
    di_low=0.8, di_high=1.25, spd=0.1, margin_low=0.88, margin_high=1.136, spd_margin=0.08, min_group=1,
    min_favourable=0, min_expected=0, reference={"gender": "M"},
)  # fmt: skip


def states(x_g: int, n_g: int, x_r: int, n_r: int, **changed: Any) -> tuple[str, str]:
    answers = [Served(None, {}, {"gender": "F"}, i < x_g) for i in range(n_g)]
    answers += [Served(None, {}, {"gender": "M"}, i < x_r) for i in range(n_r)]
    found = {one.metric: one.state for one in compare("gender", answers, LIMITS.model_copy(update=changed))}
    return found["DI"], found["SPD"]


@pytest.mark.parametrize(
    ("cells", "di"),
    [
        ((40, 100, 50, 100), "MARGIN"),  # 0.80 itself is no breach
        ((39, 100, 50, 100), "BREACH_POINT"),
        ((50, 100, 40, 100), "MARGIN"),  # 1.25
        ((51, 100, 40, 100), "BREACH_POINT"),
        ((44, 100, 50, 100), "MARGIN"),  # 0.88
        ((45, 100, 50, 100), "OK"),
        ((568, 1000, 500, 1000), "MARGIN"),  # 1.136
        ((0, 100, 50, 100), "BREACH_POINT"),
        ((0, 100, 0, 100), "UNDEFINED"),
        ((5, 100, 0, 100), "UNDEFINED"),
    ],
)
def test_a_limit_of_the_ratio_is_inside(cells: tuple[int, int, int, int], di: str) -> None:
    assert states(*cells)[0] == di


@pytest.mark.parametrize(
    ("cells", "spd"),
    [
        ((20, 100, 30, 100), "BREACH_POINT"),  # 0.10 itself is one, also where 0.2 - 0.3 is not -0.1 in binary
        ((21, 100, 30, 100), "MARGIN"),
        ((38, 100, 30, 100), "MARGIN"),  # 0.08
        ((37, 100, 30, 100), "OK"),
    ],
)
def test_a_limit_of_the_difference_is_a_breach(cells: tuple[int, int, int, int], spd: str) -> None:
    assert states(*cells)[1] == spd


@pytest.mark.parametrize(
    ("cells", "needed"),
    [
        ((9, 99, 50, 100), {"min_group": 100}),
        ((9, 100, 50, 99), {"min_group": 100}),
        ((9, 100, 29, 100), {"min_favourable": 30}),
        ((9, 19, 50, 100), {"min_expected": 10}),  # 9.5 expected
    ],
)
def test_a_cell_below_its_minimum_is_not_judged(cells: tuple[int, int, int, int], needed: dict[str, int]) -> None:
    assert states(*cells, **needed) == ("INSUFFICIENT", "INSUFFICIENT")
    assert "INSUFFICIENT" not in states(*cells)


@pytest.mark.parametrize("changed", [{"margin_low": 0.7}, {"margin_high": 1.3}, {"spd_margin": 0.1}])
def test_margins_lie_inside_the_limits(changed: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Fairness.model_validate({**LIMITS.model_dump(), **changed})
