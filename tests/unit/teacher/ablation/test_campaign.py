"""A study: what is done is not repeated, what time does not allow is said, and a smoke run concludes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from pipeline_lib.errors import SettingsError
from pipeline_lib.runs import RunContext
from pipeline_lib.settings.ablation import family_names, load_family, load_protocol
from pipeline_lib.settings.teacher import Teacher
from pipeline_lib.teacher.ablation.campaign import Campaign
from pipeline_lib.teacher.ablation.record import Results
from pipeline_lib.teacher.ablation.report import write
from pipeline_lib.teacher.ablation.summary import summarise
from pipeline_lib.teacher.setup import Data
from tests.unit.teacher.ablation.conftest import bank_of, family_of

PAIR = ({"name": "full"}, {"name": "shared_bottom", "model": "shared_bottom"})


def prevalence(data: Data, policy: Teacher) -> Mapping[str, np.ndarray]:
    """A model that is no network, and hardly a model."""
    noise = np.random.default_rng(policy.seed)
    shapes = {t.name: (data.frame.rows, t.out) if t.out > 1 else (data.frame.rows,) for t in data.tasks}
    return {name: noise.random(shape) for name, shape in shapes.items()}


def test_the_smoke_study_runs_every_kind_of_model_and_writes_its_report(
    make_context: Callable[..., RunContext], tmp_path: Path
) -> None:
    protocol = load_protocol().model_copy(update={"resamples": 100})
    family = family_of(
        {"name": "full"},
        {"name": "mlp_twins", "overrides": {"architecture": {"twin": True}}},
        *({"name": m, "model": m} for m in ("shared_bottom", "mmoe", "ple_classic", "raw", "lightgbm")),
    )
    results = Results(tmp_path / "results")
    bank = bank_of(make_context(rows=400), rows=protocol.smoke_rows)
    campaign = Campaign(bank, family, protocol, results, smoke=True, strangers={"lightgbm": prevalence})
    assert campaign.run(minutes=5) == 0
    summary = summarise(campaign)
    write(tmp_path / "out", [summary], protocol, {"customers": "few"})
    text = (tmp_path / "out" / "study.md").read_text()
    assert "no conclusion is drawn" in text  # one seed
    assert all(name in summary.measured for name in ("full", "shared_bottom", "lightgbm"))
    assert all(why in text for why in protocol.not_run.values())
    page = (tmp_path / "out" / "study.html").read_text()
    assert page.count("data:image/png;base64,") == len(list((tmp_path / "out").glob("*.png"))) > 0
    assert not json.loads((tmp_path / "out" / "checklist-tried.json").read_text())["passed"]


def test_what_is_done_is_not_repeated_and_a_killed_study_goes_on(study: Callable[..., Campaign]) -> None:
    campaign = study(*PAIR)
    assert campaign.run(minutes=5, seeds=[1]) == 0
    before = {f: f.stat().st_mtime_ns for f in campaign.results.folder.rglob("*.json")}
    assert campaign.run(minutes=5) == 0
    after = {f: f.stat().st_mtime_ns for f in campaign.results.folder.rglob("*.json")}
    assert len(after) == 2 * len(before)
    assert {f: t for f, t in after.items() if f in before} == before


def test_no_run_starts_after_the_time_is_up(study: Callable[..., Campaign]) -> None:
    campaign = study(*PAIR)
    assert campaign.run(minutes=0) == 4
    assert not list(campaign.results.folder.rglob("*.json"))


def test_the_same_run_gives_the_same_answers(study: Callable[..., Campaign], tmp_path: Path) -> None:
    campaign = study(PAIR[0], seeds=(1,))
    campaign.run(minutes=5)
    again = Campaign(campaign.bank, campaign.family, campaign.protocol, Results(tmp_path / "again"))
    again.run(minutes=5)
    (first,), (second,) = (c.found()["full"].values() for c in (campaign, again))
    assert (first.answers, first.first_logits) == (second.answers, second.first_logits)


def test_two_families_that_list_one_scenario_run_it_once(study: Callable[..., Campaign]) -> None:
    campaign = study(*PAIR, seeds=(1,))
    campaign.run(minutes=5)
    other = family_of(
        {"name": "called_otherwise", "overrides": {}},
        {"name": "again", "overrides": {"gating": {"gate_type": "softmax"}}},
    )
    assert all(Campaign(campaign.bank, other, campaign.protocol, campaign.results).found().values())


def test_a_model_that_nobody_gives_is_refused_before_anything_is_trained(study: Callable[..., Campaign]) -> None:
    campaign = study(PAIR[0], {"name": "trees", "model": "lightgbm"})
    with pytest.raises(SettingsError, match="trees"):
        campaign.run(minutes=5)
    assert not list(campaign.results.folder.rglob("*.json"))


def test_a_conclusion_is_drawn_when_the_checklist_passes(study: Callable[..., Campaign]) -> None:
    campaign = study(*PAIR, seeds=(1, 2, 3), stationary=9.0)
    campaign.run(minutes=5)
    summary = summarise(campaign)
    assert [c.detail for c in summary.checks if not c.passed] == []
    assert summary.sound
    assert not summary.silent
    assert {e.verdict for e in summary.effects} <= {"better", "worse", "null"}


@pytest.mark.parametrize("name", family_names())
def test_every_family_is_one_that_the_teacher_can_be(name: str, context: RunContext) -> None:
    campaign = Campaign(bank_of(context), load_family(name), load_protocol(), Results(Path("unused")))
    hashes = [campaign.key(scenario, 42) for scenario in campaign.family.scenarios]
    assert len(set(hashes)) == len(hashes)
