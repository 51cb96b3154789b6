"""Leaks are seen: refused by lineage before training, and by what they do to the score when they get through."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import polars as pl
import pytest
import torch

from pipeline_lib.contracts.leakage.frames import TrainingFrame
from pipeline_lib.contracts.leakage.lineage import sources_are_allowed
from pipeline_lib.errors import SettingsError
from pipeline_lib.runs import RunContext
from pipeline_lib.settings.ablation import Scenario
from pipeline_lib.teacher.ablation.campaign import Campaign
from pipeline_lib.teacher.ablation.material import LEFT_OUT, fingerprints, material, smaller
from pipeline_lib.teacher.ablation.record import Record
from tests.unit.teacher.ablation.conftest import bank_of

LONGER = {"experts": ["deepfm"], "training": {"epochs": 6, "min_steps": 1, "phase2": {"epochs": 0}}}
TASK = "top_mcc_shift"


@pytest.mark.rule("R33")
def test_a_planted_leak_jumps_and_shuffled_labels_leave_nothing(study: Callable[..., Campaign]) -> None:
    campaign = study(
        {"name": "clean"}, {"name": "planted", "plant": [TASK]}, {"name": "shuffled", "shuffle": True},
        rows=1200, seeds=(1, 2, 3), overrides=LONGER,
    )  # fmt: skip
    assert campaign.run(minutes=5, seeds=[1]) == campaign.run(minutes=5, only=["shuffled"]) == 0
    found = {name: [aucs(r) for r in runs.values()] for name, runs in campaign.found().items()}
    assert 0.6 < found["clean"][0][TASK] < 0.97
    assert found["planted"][0][TASK] > 0.99
    # A network that learnt noise points somewhere by chance: one alone is off by about 0.1, the mean of six is not.
    assert abs(np.mean([list(each.values()) for each in found["shuffled"]]) - 0.5) < 0.12


def aucs(record: Record) -> dict[str, float]:
    """Of the binary tasks on the judged rows."""
    tasks = record.scores["fidelity+seen"]["tasks"]
    return {name: scores["auc"] for name, scores in tasks.items() if "auc" in scores}


@pytest.mark.rule("R33")
@pytest.mark.parametrize(
    ("source", "check"),
    [("label_table.nba_primary", "L25"), ("customer_segment.segment", "L29"), ("product_event.months_after", None)],
)
def test_a_column_that_descends_from_a_label_or_the_segment_is_refused(
    source: str, check: str | None, context: RunContext
) -> None:
    table = source.partition(".")[0]
    lineage = context.settings.leakage.lineage
    if check is None:
        source = f"{next(iter(lineage.known_tables))}.amount"
    else:
        assert table in lineage.forbidden_tables
    frame = frame_with(source)
    found = [f.check for f in sources_are_allowed(frame, context.settings.leakage) if f.verdict == "FAIL"]
    assert found == ([check] if check else [])


def frame_with(source: str) -> TrainingFrame:
    """One row, one column, which says that it comes from ``source``."""
    column = {"name": "x", "group": "g", "kind": "num", "lineage": [source], "ancestors": []}
    keys = pl.DataFrame({"customer_key": [1], "cutoff_date": [date(2026, 1, 1)], "split": ["train"], "part": ["fit"]})
    one = np.ones((1, 1), np.float32)
    schema = {"columns": [column], "groups": [{"name": "g", "start": 0, "end": 1}]}
    return TrainingFrame("planted", keys, one, one, schema, pl.DataFrame(), {}, one[0], (), 0.0, 1.0, 1)


def scenario(**what: object) -> Scenario:
    return Scenario.model_validate({"name": "s", "title": "s", **what})


def test_planted_columns_are_the_labels_and_only_deepfm_reads_them(context: RunContext) -> None:
    bank, policy = bank_of(context), context.settings.teacher
    clean = material(bank, scenario(), policy, 1)
    data = material(bank, scenario(plant=["nba_primary", TASK]), policy, 1)
    added = data.frame.x[:, clean.inputs.columns :]
    assert added.shape[1] == 4 + 1 == data.inputs.columns - clean.inputs.columns
    label = clean.frame.labels["nba_primary"]
    known = ~label.isnan()
    assert torch.equal(added[known, :4].argmax(1), label[known].long())
    assert float(added[~known, :4].abs().sum()) == 0
    assert set(data.inputs.columns_of("deepfm")) >= set(range(clean.inputs.columns, data.inputs.columns))
    assert data.inputs.columns_of("temporal") == clean.inputs.columns_of("temporal")


def test_shuffling_moves_labels_of_learning_rows_only(context: RunContext) -> None:
    bank, policy = bank_of(context), context.settings.teacher
    clean, data = (material(bank, scenario(shuffle=s), policy, 1).frame for s in (False, True))
    assert fingerprints(clean, ["fidelity"]) == fingerprints(data, ["fidelity"])
    rows = clean.part("fit", "stop", "calib")
    before, after = clean.labels[TASK][rows], data.labels[TASK][rows]
    assert not torch.equal(before.nan_to_num(-1), after.nan_to_num(-1))
    assert torch.equal(before.nan_to_num(-1).sort().values, after.nan_to_num(-1).sort().values)


def test_a_smaller_sample_is_judged_on_the_same_rows_and_learns_its_own_statistics(context: RunContext) -> None:
    policy = context.settings.teacher
    whole = bank_of(context).read(policy)
    data = smaller(whole, 90, policy)
    counts = dict(data.frame.keys["part"].value_counts().iter_rows())
    assert (counts["fit"], counts[LEFT_OUT], counts["fidelity"]) == (90, 90, 30)
    assert fingerprints(data.frame, ["fidelity"]) == fingerprints(whole.frame, ["fidelity"])
    assert data.tasks[1].mean != whole.tasks[1].mean
    assert data.frame.x is whole.frame.x


def test_a_task_that_does_not_exist_is_refused(context: RunContext) -> None:
    with pytest.raises(SettingsError, match="nonsense"):
        material(bank_of(context), scenario(tasks=["nonsense"]), context.settings.teacher, 1)
