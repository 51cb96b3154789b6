"""Batch scoring and the handler are one predictor; a package is the same bytes again; tables hold pseudonyms only."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline_lib.errors import ContractError, GateCannotJudge, ManifestMismatch, SignatureInvalid
from pipeline_lib.keys import KeyFolder
from pipeline_lib.publish import package, tables
from pipeline_lib.publish.package import serve_layer
from pipeline_lib.registry import decisions, pointer, versions
from pipeline_lib.runs import RunContext
from pipeline_lib.serve import batch
from pipeline_lib.serve.bundle import open_bundle
from pipeline_lib.serve.layers import Models, Overrides, Row
from pipeline_lib.serve.policy import open_models
from pipeline_lib.serve.predictor import Predictor

Body = Callable[..., dict[str, Any]]


def models_of(release: Any) -> Models:
    bundle = open_bundle(release.folder, release.bank.read("package").facts["manifest_sha256"])
    return open_models(bundle, Predictor.of(bundle), None)


def test_batch_scores_equal_the_handlers_answers(release: Any, request_body: Body) -> None:
    service, models = release.service(), models_of(release)
    rows = pl.read_parquet(release.bank.read("features").path("feature_matrix.parquet")).filter(
        pl.col("part") == "serve"
    )
    columns = [name for name in rows.columns if name not in batch.NOT_FEATURES]
    scores = batch.score_rows(models, columns, rows.head(60))
    from pipeline_lib.serve.local import ask

    for row in scores.iter_rows(named=True):
        answered = ask(service, request_body(customer_id=f"c{row['customer_key']}"))["tasks"]
        for task, found in answered.items():
            served = found.get("value", found["calibrated"])
            expected = [v for k, v in row.items() if k == f"s_{task}" or k.startswith(f"s_{task}_")]
            assert (
                np.atleast_1d(served) == pytest.approx(expected, abs=1e-8)
                if served is not None
                else expected[0] is None
            )


def test_gate_rows_are_one_per_customer_in_table_order(bank: RunContext) -> None:
    rows = batch.gate_rows(bank.read("features").path("feature_matrix.parquet"))
    assert rows["part"].unique().to_list() == ["gate"]
    assert rows["customer_key"].is_sorted()
    assert rows["customer_key"].n_unique() == rows.height


def test_scores_do_not_depend_on_the_other_rows(release: Any) -> None:
    models = models_of(release)
    rows = batch.gate_rows(release.bank.read("features").path("feature_matrix.parquet"))
    columns = [name for name in rows.columns if name not in batch.NOT_FEATURES]
    whole = batch.score_rows(models, columns, rows)
    some = batch.score_rows(models, columns, rows[10:13])
    assert whole[10:13].equals(some)


def test_score_stage_says_what_was_scored_and_against_whom(own_bank: RunContext) -> None:
    made = batch.score(own_bank)
    facts = own_bank.read("package").facts
    assert made.facts["challenger"] == facts["version"]
    assert (made.facts["champion"], made.facts["champion_generation"]) == (None, 0)
    assert made.names() == ["challenger.parquet"]
    table = pl.read_parquet(made.path("challenger.parquet"))
    assert table.columns[:2] == ["customer_key", "cutoff_date"]
    assert [c for c in table.columns if c.startswith("s_nba_primary")] == [f"s_nba_primary_{k}" for k in range(7)]
    assert table["s_churn_signal"].null_count() == 0
    assert table["s_will_acquire_lending"].null_count() == table.height


def test_a_judged_package_keeps_its_scores_wherever_the_pointer_is(own_bank: RunContext) -> None:
    made = batch.score(own_bank)
    own_bank.objects.put(pointer.KEY, b"not a pointer")
    with pytest.raises((GateCannotJudge, SignatureInvalid)):
        batch.score(own_bank)
    verdict_is(own_bank, "evaluate")
    assert batch.score(own_bank).content_hash == made.content_hash


def test_neither_a_dry_run_nor_a_verdict_that_is_over_keeps_scores(own_bank: RunContext) -> None:
    batch.score(own_bank)
    own_bank.objects.put(pointer.KEY, b"not a pointer")
    verdict_is(own_bank, "dry_run")
    with pytest.raises((GateCannotJudge, SignatureInvalid)):
        batch.score(own_bank)
    verdict_is(own_bank, "evaluate")
    batch.score(own_bank)
    decisions.close(own_bank.objects, decisions.signoff_id("d1"), "voided", "nobody gave it effect in time")
    with pytest.raises((GateCannotJudge, SignatureInvalid)):
        batch.score(own_bank)


def verdict_is(bank: RunContext, mode: str) -> None:
    bank.produce("gate", lambda out: out.facts.update(mode=mode, decision_id="d1"), [bank.read("score")], {"m": mode})


def test_anomalous_rows_leave_the_model_and_say_so(release: Any) -> None:
    models = models_of(release)
    columns = tuple(models.bundle.policy["features"]["columns"])
    gone = Row([1.0] * 3, columns[:3], "")
    answers = models.answer(gone, Overrides())
    assert (answers["churn_signal"].layer, answers["churn_signal"].layer_reason) == (3, "INPUT_ANOMALY")


def test_the_same_inputs_give_the_same_package_whatever_the_secrets(bank: RunContext, rebuilt: RunContext) -> None:
    one, two = bank.read("package"), rebuilt.read("package")
    assert KeyFolder(bank.settings.place.keys).pepper() != KeyFolder(rebuilt.settings.place.keys).pepper()
    assert one.facts == two.facts
    assert one.content_hash == two.content_hash


def test_a_manifest_names_no_host_path_or_clock(bank: RunContext) -> None:
    text = bank.objects.get(f"registry/versions/{bank.read('package').facts['version']}/manifest.json").decode()
    assert str(bank.settings.place.home) not in text
    assert "started_at" not in text
    manifest = json.loads(text)
    assert manifest["version"].startswith("v20261116-")
    assert manifest["total_bytes"] == sum(file["bytes"] for file in manifest["files"])
    assert not [f for f in manifest["files"] if f["path"].endswith((".parquet", ".safetensors", ".pkl"))]


def test_a_packaged_version_verifies_and_a_changed_byte_does_not(own_bank: RunContext) -> None:
    keys, version = KeyFolder(own_bank.settings.place.keys), own_bank.read("package").facts["version"]
    assert versions.verify(own_bank.objects, keys, version).state == "complete"
    key = f"registry/versions/{version}/policy/scoring.json"
    own_bank.objects.put(key, own_bank.objects.get(key).replace(b"0.3", b"0.4", 1))
    with pytest.raises(ManifestMismatch):
        versions.verify(own_bank.objects, keys, version)
    key = f"registry/versions/{version}/manifest.json"
    own_bank.objects.put(key, own_bank.objects.get(key).replace(b"complete", b"Complete", 1))
    with pytest.raises(SignatureInvalid):
        versions.verify(own_bank.objects, keys, version)


@pytest.mark.parametrize(
    ("route", "verdict", "has_twin", "layer"),
    [("distil", "pass", True, 1), ("distil", "fail", True, 2), ("distil", "fail", False, 3), ("distil", None, True, 2),
     ("direct", "exempt", False, 2), ("rules", "rules", False, 3)],
)  # fmt: skip
def test_a_student_that_failed_fidelity_leaves_its_task_to_the_twin(
    route: str, verdict: str | None, has_twin: bool, layer: int
) -> None:
    assert serve_layer(route, "WHY", verdict, has_twin=has_twin)[0] == layer


def test_a_package_over_budget_is_refused(own_bank: RunContext) -> None:
    small = own_bank.settings.serving.model_copy(update={"max_package_bytes": 1000})
    tight = replace(own_bank, settings=own_bank.settings.model_copy(update={"serving": small}))
    tight.settings.__dict__.pop("config_hash", None)
    with pytest.raises(ContractError, match="at most 1000"):
        package.package(tight)


def read(bank: RunContext, sql: str) -> list[tuple[Any, ...]]:
    path = bank.objects.local_path(f"serving/{bank.dataset}/feature_rows.sqlite")
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchall()


def test_serving_rows_are_the_raw_features_by_pseudonym(bank: RunContext, release: Any) -> None:
    service = release.service()
    matrix = pl.read_parquet(bank.read("features").path("feature_matrix.parquet")).filter(pl.col("part") == "serve")
    stored = service.tables.customer(release.subject("c9"))
    expected = matrix.filter(pl.col("customer_key") == 9).drop(batch.NOT_FEATURES)
    assert list(stored.row.columns) == expected.columns
    assert np.array_equal(np.array(stored.row.values, dtype=np.float32), expected.to_numpy()[0], equal_nan=True)
    assert stored.teacher.gates["nba_primary"] == pytest.approx({"deepfm": 0.5, "temporal": 0.3, "lightgcn": 0.2})
    assert stored.protected == {"age_band": "25-34", "gender": "M", "income_tier": "1", "region": "3"}
    ids = [row[0] for row in read(bank, "SELECT subject_ref FROM feature_row")]
    assert len(ids) == 240
    assert all(len(one) == 66 and one.startswith("s_") for one in ids)
    data = bank.objects.local_path(f"serving/{bank.dataset}/feature_rows.sqlite").read_bytes()
    assert b"customer_key" not in data


def test_a_backfill_does_not_replace_newer_rows(own_bank: RunContext) -> None:
    as_of = "SELECT DISTINCT json_extract(body, '$.as_of') FROM meta"
    newer = read(own_bank, as_of)
    path = own_bank.objects.local_path(f"serving/{own_bank.dataset}/feature_rows.sqlite")
    with closing(sqlite3.connect(path)) as database, database:
        later = (own_bank.logical_date + timedelta(days=7)).isoformat()
        change = "UPDATE meta SET body = json_set(body, '$.made_from', 'other', '$.as_of', ?)"
        database.execute(change, (later,))
    tables.export(own_bank)
    assert read(own_bank, as_of) == [(later,)] != newer


def test_a_rerun_keeps_the_state_that_people_wrote(own_bank: RunContext) -> None:
    path: Path = own_bank.objects.local_path(f"serving/{own_bank.dataset}/state.sqlite")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("INSERT INTO optout VALUES ('s_1', NULL, '2026-11-01')")
    own_bank.objects.delete(f"serving/{own_bank.dataset}/feature_rows.sqlite")
    package.package(own_bank)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM optout").fetchone() == (1,)
    assert len(read(own_bank, "SELECT 1 FROM feature_row")) == 240
