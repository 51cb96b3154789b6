"""The public benchmark: it runs, goes on where it was killed, and its intervals are of what it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from benchmarks import teacher
from benchmarks.census import bootstrap, data, training
from benchmarks.census.rows import ROWS
from pipeline_lib import settings
from pipeline_lib.teacher.classic.bins import Fields, learn
from pipeline_lib.teacher.metrics import auc

ROWS_MADE = 1000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with the columns and values of Census-Income, by chance, whose tasks depend on age."""
    place, shape = tmp_path_factory.mktemp("census"), settings.load_benchmark("census")
    rng = np.random.default_rng(0)
    age = rng.integers(0, 90, ROWS_MADE)
    made: dict[str, pl.Series] = {}
    for name, column in shape.columns.items():
        kind = {"whole": pl.Int32, "real": pl.Float64, "category": pl.String}[column.type]
        made[name] = pl.Series(rng.integers(0, 40, ROWS_MADE)).cast(kind)
    for task in shape.tasks.values():
        known = [*task.positive, "another value"]
        made[task.column] = pl.Series([known[-1 if a + rng.normal(0, 20) < 50 else k % len(task.positive)]
                                       for k, a in enumerate(age)])  # fmt: skip
    made["age"] = pl.Series(age, dtype=pl.Int32)
    pl.DataFrame(made).write_parquet(place / shape.file)
    return place


@pytest.fixture(scope="module")
def census(folder: Path) -> data.Census:
    return data.read(folder, bins=8)


def test_education_is_an_input_and_marital_status_and_weight_are_not(census: data.Census) -> None:
    names = {*census.categories, *census.numbers}
    assert len(names) == 39
    assert "education" in names
    assert not names & {"marital_status", "instance_weight", "income_50k"}


def test_what_is_learnt_is_of_train_rows_only(census: data.Census) -> None:
    """Moments, edges and ranges are those of the train frame; with the other rows they would be others."""
    names = (*census.categories, *census.numbers)

    def of(frame: pl.DataFrame) -> Fields:
        return learn(data._columns(frame, names), census.categories, census.numbers, 8)

    train, everybody = of(census.frames["train"]), of(pl.concat(census.frames.values()))
    assert census.fields.moments == train.moments != everybody.moments
    assert all(np.array_equal(census.fields.edges[n], train.edges[n]) for n in train.edges)
    assert any(not np.array_equal(everybody.edges[n], train.edges[n]) for n in train.edges)


def test_quick_mode_writes_the_table_and_a_second_run_trains_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [str(folder), "--quick", "--out", str(tmp_path), "--rows", "ple", "shared", "lightgbm", "--seeds", "0", "1"]
    teacher.main(asked)
    body = json.loads((tmp_path / "table.json").read_text())
    assert set(body["results"]) == {"ple", "shared", "lightgbm"}
    assert all(0 < value < 1 for runs in body["results"].values() for run in runs for value in run["auc"])
    assert "| ours: PLE |" in (tmp_path / "table.md").read_text()
    assert len(body["differences"]) == 4
    monkeypatch.setattr(teacher, "_one", lambda *_: pytest.fail("a finished result was made again"))
    teacher.main(asked)
    capsys.readouterr()


def test_a_result_of_another_recipe_is_not_reused(folder: Path, tmp_path: Path, monkeypatch) -> None:
    asked = [str(folder), "--quick", "--out", str(tmp_path), "--rows", "shared", "--seeds", "0"]
    teacher.main(asked)
    (tmp_path / "shared-0.json").write_text((tmp_path / "shared-0.json").read_text().replace('"key": "', '"key": "x'))
    made = []
    monkeypatch.setattr(teacher, "_one", lambda rows, *_: made.append(list(rows)))
    with pytest.raises(KeyError):  # nothing was made, so the table lacks it
        teacher.main(asked)
    assert made == [["shared"]]


@pytest.mark.parametrize("name", [n for n, row in ROWS.items() if row.group == "ours"])
def test_our_rows_are_of_the_size_the_peers_have(name: str, census: data.Census) -> None:
    net = ROWS[name].build(census, 0)
    assert 60_000 < sum(p.numel() for p in net.parameters()) < 300_000


def test_bootstrap_is_the_auc_of_rows_drawn_with_repetition() -> None:
    rng = np.random.default_rng(1)
    y, score = (rng.random(60) < 0.3).astype(float), rng.integers(0, 12, 60).astype(float)
    weights = bootstrap.draws(60, 70, seed=2)
    assert (weights.sum(1) == 60).all()
    expected = [auc(np.repeat(y, w), np.repeat(score, w)) for w in weights]
    np.testing.assert_allclose(bootstrap.aucs(y, score, weights), expected)


def test_an_average_is_the_plain_mean_before_it_forgets() -> None:
    net = torch.nn.Linear(1, 1, bias=False)
    average = training.Average(net, keep=0.9)
    for value in (1.0, 2.0, 6.0):
        torch.nn.init.constant_(net.weight, value)
        average.follow()
    assert average.net.weight.item() == pytest.approx(3.0)


def test_members_are_trained_on_their_own_loss_and_averaged_as_probabilities() -> None:
    z, y = torch.tensor([[[2.0, -1.0], [-2.0, 3.0]]]), torch.tensor([[1.0, 0.0]])
    each = torch.nn.functional.binary_cross_entropy_with_logits(z, y[:, None].expand_as(z), reduction="none")
    torch.testing.assert_close(training._from_logits(z, y), each.mean())
