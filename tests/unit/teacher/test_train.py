"""The stage as a whole on a fabricated bank: what it writes, that it repeats, that it resumes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from pipeline_lib.errors import ManifestMismatch, SchemaError, SettingsError, TrainingDiverged
from pipeline_lib.runs import Out, RunContext, StageOutput
from pipeline_lib.teacher import loop
from pipeline_lib.teacher.checkpoint import load_checkpoint
from pipeline_lib.teacher.epoch import describe
from pipeline_lib.teacher.frozen import FrozenView
from pipeline_lib.teacher.metrics import macro_f1, r_squared
from pipeline_lib.teacher.plan import Plan
from pipeline_lib.teacher.predict import predict
from pipeline_lib.teacher.resume import Progress, Store, snapshot
from pipeline_lib.teacher.setup import pick_device, plan_of, trainee_of
from pipeline_lib.teacher.step import Stepper, Trainee
from pipeline_lib.teacher.train import calibrate, train
from tests.unit.teacher.bank import TASKS, World, data_of

Maker = Callable[..., RunContext]
CPU = torch.device("cpu")


def digests(out: StageOutput) -> dict[str, str]:
    return {entry.path.split("/", 1)[1]: entry.sha256 for entry in out.manifest.outputs}


def rewritten(ctx: RunContext, stage: str, name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Publish a stage again with one table changed."""
    old = ctx.read(stage)

    def make(out: Out) -> None:
        for file in old.names():
            if file == name:
                change(pl.read_parquet(old.path(file))).write_parquet(out.path(file))
            else:
                out.path(file).write_bytes(old.path(file).read_bytes())
        out.facts.update(old.facts)

    ctx.produce(stage, make, sources={"source:edit": name})


def test_the_stage_writes_what_the_contract_names(trained: RunContext) -> None:
    out = trained.read("teacher")
    assert sorted(out.names()) == sorted(
        ["checkpoint/weights.safetensors", "checkpoint/model.json", "metrics.json", "curves.png",
         "checkpoint/explain.safetensors", "checkpoint/explain.json", "explanations.parquet", "explain.json",
         "ood.png", "attribution.png", "faithfulness.png", "calibration.png", "affinity.png",
         "soft_labels.parquet", "soft_labels.json", "gate_weights.parquet"]
    )  # fmt: skip
    labels = pl.read_parquet(out.path("soft_labels.parquet"))
    keys = pl.read_parquet(trained.read("features").path("feature_matrix.parquet"))
    assert labels.select("customer_key", "cutoff_date").equals(keys.select("customer_key", "cutoff_date"))
    expected = ["customer_key", "cutoff_date"]
    for name in [n for n in trained.settings.tasks.tasks if n in TASKS]:
        ways = [f"_{k}" for k in range(len(TASKS[name]["classes"]))] or [""]
        prefixes = ["mt"] if TASKS[name]["kind"] == "regression" else ["lt", "ct", "pt"]
        expected += [f"{p}_{name}{way}" for p in prefixes for way in ways]
    assert labels.columns == expected
    assert set(labels.dtypes[2:]) == {pl.Float32}
    total = labels.select(pl.sum_horizontal(pl.col("^pt_nba_primary_.*$"))).to_series()
    assert (total - 1).abs().max() < 1e-4

    gates = pl.read_parquet(out.path("gate_weights.parquet"))
    parts = keys.filter(pl.col("part").is_in(["gate", "serve"]))
    assert gates.height == parts.height * len(TASKS)
    experts = trained.settings.teacher.experts
    names = ["customer_key", "cutoff_date", "task", *experts, "entropy", "private_share", "lens"]
    assert gates.columns == names
    report = json.loads(out.path("explain.json").read_bytes())
    loud = [pair["mean"] for pair in report["crosses"]]
    assert loud == sorted(loud, reverse=True)
    assert len({tuple(pair["groups"]) for pair in report["crosses"]}) == 10
    said = report["faithfulness"]
    faithful = {task for task, value in said["tasks"].items() if value is not None and value > said["min_correlation"]}
    assert set(gates.filter(pl.col("lens").is_null())["task"]) == set(TASKS) - faithful
    assert set(gates["lens"].drop_nulls()) <= {*experts, "multi-factor"}
    assert gates["private_share"].is_between(0, 1).all()
    weights = gates.select(trained.settings.teacher.experts)
    assert (weights.sum_horizontal() - 1).abs().max() < 1e-5

    metrics = json.loads(out.path("metrics.json").read_bytes())
    assert list(metrics["tasks"]) == sorted(TASKS)
    assert set(out.facts["tasks"]) == set(TASKS)
    sidecar = json.loads(out.path("soft_labels.json").read_bytes())
    assert sidecar["tasks"]["churn_signal"]["viability"]["metric"] == "auc"
    assert not trained.objects.list(f"work/{trained.dataset}")


def test_calibrated_columns_follow_from_the_raw_logit_and_the_checkpoint(trained: RunContext) -> None:
    out = trained.read("teacher")
    table = pl.read_parquet(out.path("soft_labels.parquet"))
    body = json.loads(out.path("checkpoint/model.json").read_bytes())["calibrators"]["churn_signal"]
    z = table["lt_churn_signal"].to_numpy().astype(np.float64) * body["scale"] + body["bias"][0]
    np.testing.assert_allclose(table["ct_churn_signal"].to_numpy(), z, atol=1e-5)
    np.testing.assert_allclose(table["pt_churn_signal"].to_numpy(), 1 / (1 + np.exp(-z)), atol=1e-6)


def test_a_task_is_calibrated_as_its_answer_is_used(world: World) -> None:
    """Ranked classes get their shares back; a task answered by its most likely class keeps that class."""
    rows = world.frame.part("stop", "calib", "fidelity")
    z = predict(world.model, world.frame, rows, 64, CPU).logits["nba_primary"].double()
    policy = world.ctx.settings.teacher
    plain = policy.model_copy(update={"calibration": policy.calibration.model_copy(update={"class_bias": []})})
    ranked, decided = (calibrate(world.model, world.frame, world.tasks, p, CPU) for p in (policy, plain))
    assert {c.kind for c in ranked.values()} == {"platt", "temperature", "linear"}
    assert any(ranked["nba_primary"].bias)
    assert not torch.equal(ranked["nba_primary"].apply(z).argmax(1), z.argmax(1))
    assert torch.equal(decided["nba_primary"].apply(z).argmax(1), z.argmax(1))


def test_a_task_is_viable_by_what_students_imitate(trained: RunContext) -> None:
    """Not by raw logits: the same answers decide the route and are imitated."""
    out = trained.read("teacher")
    said = json.loads(out.path("soft_labels.json").read_bytes())["tasks"]
    keys = pl.read_parquet(trained.read("features").path("feature_matrix.parquet"))
    val = keys.select("part", "customer_key", "cutoff_date").filter(pl.col("part").is_in(["stop", "calib"]))
    table = val.join(pl.read_parquet(out.path("soft_labels.parquet")), on=["customer_key", "cutoff_date"], how="left")
    table = table.join(
        pl.read_parquet(trained.read("labels").path("label_table.parquet")), on=["customer_key", "cutoff_date"]
    )
    count = table.drop_nulls("product_stability")
    assert said["product_stability"]["viability"]["value"] == pytest.approx(
        r_squared(count["product_stability"].to_numpy(), count["mt_product_stability"].to_numpy()), abs=1e-4
    )
    named = table.drop_nulls("nba_primary")
    chosen = named.select(pl.col("^ct_nba_primary_.*$")).to_numpy().argmax(1)
    found = macro_f1(named["nba_primary"].to_numpy(), chosen, len(TASKS["nba_primary"]["classes"]))
    assert said["nba_primary"]["viability"]["value"] == pytest.approx(found)


def test_the_same_inputs_give_the_same_bytes_whatever_the_threads_of_the_place(trained: RunContext) -> None:
    ctx, first = trained, trained.read("teacher")
    other = torch.get_num_threads() + 1
    torch.manual_seed(99)
    before = torch.get_num_threads()
    torch.set_num_threads(other)
    place = ctx.settings.place.model_copy(update={"threads": 7, "recompute": True})
    again = RunContext(ctx.settings.model_copy(update={"place": place}), ctx.logical_date, ctx.objects)
    try:
        assert digests(train(again)) == digests(first)
        assert torch.get_num_threads() == other
    finally:
        torch.set_num_threads(before)


@pytest.mark.rule("R29")
@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(make_context: Maker, killed_after: int) -> None:
    """Within phase 1, between the phases, and within phase 2."""
    ctx = make_context({"teacher": {"training": {"epochs": 2, "phase2": {"epochs": 2}}}}, rows=150)
    seen: list[int] = []

    def kill(progress: Progress) -> None:
        seen.append(len(progress.curve))
        if len(progress.curve) == killed_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(ctx, kill)
    resumed = train(ctx, lambda progress: seen.append(len(progress.curve)))
    assert seen == [1, 2, 3, 4]  # no epoch was repeated
    place = ctx.settings.place.model_copy(update={"recompute": True})
    whole = RunContext(ctx.settings.model_copy(update={"place": place}), ctx.logical_date, ctx.objects)
    assert digests(train(whole)) == digests(resumed)


@pytest.mark.rule("R29")
def test_a_run_killed_inside_an_epoch_ends_with_the_same_bytes(
    make_context: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = make_context(rows=150)
    steps: list[int] = []
    accumulate = Stepper.accumulate

    def kill(self: Stepper, chunk: torch.Tensor, micro_rows: int, step: int) -> bool:
        steps.append(step)
        if len(steps) == 4:  # two steps an epoch: inside the second
            raise KeyboardInterrupt
        return accumulate(self, chunk, micro_rows, step)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "accumulate", kill)
        with pytest.raises(KeyboardInterrupt):
            train(ctx)
    resumed = train(ctx)
    place = ctx.settings.place.model_copy(update={"recompute": True})
    whole = RunContext(ctx.settings.model_copy(update={"place": place}), ctx.logical_date, ctx.objects)
    assert digests(train(whole)) == digests(resumed)


@pytest.mark.rule("R28")
def test_phase_2_runs_all_its_epochs_after_phase_1(make_context: Maker) -> None:
    ctx = make_context({"teacher": {"training": {"epochs": 2, "phase2": {"epochs": 3}}}}, rows=150)
    epochs: list[tuple[int, int, int]] = []
    train(ctx, lambda progress: epochs.append((progress.phase, progress.epoch, progress.stale)))
    assert [(phase, epoch) for phase, epoch, _ in epochs] == [(0, 1), (0, 2), (1, 1), (1, 2), (1, 3)]
    assert epochs[2][2] == 0  # early stopping starts anew


@pytest.mark.rule("R28")
def test_phase_2_is_kept_only_if_it_beats_phase_1(make_context: Maker) -> None:
    bad = {"epochs": 2, "base_rate": 5e-3, "phase2": {"epochs": 2, "rate_share": 1.0, "warmup_share": 0.0}}
    out = train(make_context({"teacher": {"training": bad}}, rows=200))
    curve = json.loads(out.path("metrics.json").read_bytes())["curve"]
    assert [row["phase"] for row in curve] == [0, 0, 1, 1]
    best = max(row["composite_stop"] for row in curve)
    assert curve[out.facts["best_epoch"]]["composite_stop"] == best == pytest.approx(float(out.facts["composite"]))


@pytest.mark.rule("R28")
def test_phase_2_starts_from_the_best_weights_of_phase_1(make_context: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every epoch is made out to be worse than the one before, so the best weights are not the last ones."""
    bests: list[dict[str, torch.Tensor]] = []
    starts: list[dict[str, torch.Tensor]] = []
    lasts: list[dict[str, torch.Tensor]] = []
    save, view = Store.save, loop.frozen_view

    def falling(trainee: Trainee, plan: Plan, progress: Progress, mean: dict[str, float]) -> dict[str, Any]:
        return {**describe(trainee, plan, progress, mean), "composite_stop": -float(len(progress.curve))}

    def keep(self: Store, progress: Progress, modules: Any, best: Any, *rest: Any) -> None:
        bests.append(dict(best))
        lasts.append(snapshot(modules["model"]))
        save(self, progress, modules, best, *rest)

    def look(trainee: Trainee, plan: Plan) -> FrozenView:
        starts.append(snapshot(trainee.model))
        return view(trainee, plan)

    monkeypatch.setattr(loop, "describe", falling)
    monkeypatch.setattr(Store, "save", keep)
    monkeypatch.setattr(loop, "frozen_view", look)
    train(make_context({"teacher": {"training": {"epochs": 2, "phase2": {"epochs": 1}}}}, rows=150))
    assert not all(torch.equal(bests[1][name], lasts[1][name]) for name in bests[1])
    assert all(torch.equal(bests[1][name], starts[0][name]) for name in bests[1])


@pytest.mark.rule("R31")
def test_the_best_epochs_score_is_that_of_the_checkpoint(trained: RunContext) -> None:
    """Recomputed from the reloaded checkpoint on all of part stop."""
    out, data = trained.read("teacher"), data_of(trained)
    loaded = load_checkpoint(
        out.path("checkpoint/weights.safetensors"), out.path("checkpoint/model.json"), schema_hash="a" * 64
    )
    trainee = trainee_of(loaded.model, data, trained.settings.teacher, torch.device("cpu"))
    row = describe(trainee, plan_of(trained.settings.teacher), Progress(), {"total": 0.0})
    assert row["composite_stop"] == pytest.approx(float(out.facts["composite"]), abs=1e-6)


@pytest.mark.rule("R30")
def test_the_validation_loss_knows_no_weights_transfer_or_regularisers(world: World) -> None:
    def stop_loss(**teacher: Any) -> float:
        policy = world.ctx.settings.teacher.model_copy(
            update={k: getattr(world.ctx.settings.teacher, k).model_copy(update=v) for k, v in teacher.items()}
        )
        trainee = trainee_of(world.model, world.data, policy, torch.device("cpu"))
        trainee.weighting.start_at({t.name: 0.3 for t in world.tasks})
        return float(describe(trainee, plan_of(policy), Progress(), {"total": 0.0})["loss_stop"])

    plain = stop_loss()
    assert plain == stop_loss(weighting={"method": "fixed"})
    assert plain == stop_loss(adatt={"enabled": True}, gating={"entropy_weight": 0.1})


def test_labels_of_the_gate_and_of_customers_to_serve_are_never_read(make_context: Maker) -> None:
    ctx = make_context(rows=150)
    first = digests(train(ctx))
    keys = pl.read_parquet(ctx.read("features").path("feature_matrix.parquet"))["customer_key", "part"]
    gate = set(keys.filter(pl.col("part") == "gate")["customer_key"])
    flipped = pl.when(pl.col("customer_key").is_in(gate)).then(1 - pl.col("churn_signal")).otherwise("churn_signal")
    rewritten(ctx, "labels", "label_table.parquet", lambda t: t.with_columns(flipped.alias("churn_signal")))
    second = train(ctx)
    assert digests(second) == first
    assert second.manifest.inputs != {}


def test_the_checkpoint_rebuilds_the_model_that_wrote_the_soft_labels(trained: RunContext) -> None:
    out = trained.read("teacher")
    paths = out.path("checkpoint/weights.safetensors"), out.path("checkpoint/model.json")
    loaded = load_checkpoint(*paths, schema_hash="a" * 64)
    frame = data_of(trained).frame
    found = predict(loaded.model, frame, torch.arange(frame.rows), 4096, torch.device("cpu"))
    table = pl.read_parquet(out.path("soft_labels.parquet"))
    for task in ("churn_signal", "top_mcc_shift"):
        np.testing.assert_array_equal(found.logits[task].numpy(), table[f"lt_{task}"].to_numpy())
    gates = pl.read_parquet(out.path("gate_weights.parquet")).select(trained.settings.teacher.experts).to_numpy()
    rows = frame.part("gate", "serve")
    np.testing.assert_allclose(gates, found.gates[rows].reshape(-1, found.gates.shape[2]).numpy(), atol=1e-6)


def test_a_checkpoint_refuses_a_foreign_schema_and_changed_weights(trained: RunContext, tmp_path) -> None:
    out = trained.read("teacher")
    weights, model = out.path("checkpoint/weights.safetensors"), out.path("checkpoint/model.json")
    with pytest.raises(SchemaError, match="trained on schema aaa"):
        load_checkpoint(weights, model, schema_hash="b" * 64)
    changed = tmp_path / "weights.safetensors"
    blob = bytearray(weights.read_bytes())
    blob[-1] ^= 1
    changed.write_bytes(bytes(blob))
    with pytest.raises(ManifestMismatch):
        load_checkpoint(changed, model, schema_hash="a" * 64)


def test_training_learns_the_planted_signals(make_context: Maker) -> None:
    ctx = make_context({"teacher": {"training": {"epochs": 20, "base_rate": 1e-2}}}, rows=800)
    metrics = json.loads(train(ctx).path("metrics.json").read_bytes())
    assert metrics["tasks"]["churn_signal"]["fidelity"]["auc"] > 0.7
    assert metrics["tasks"]["top_mcc_shift"]["fidelity"]["auc"] > 0.7
    curve = metrics["curve"]
    assert curve[metrics["best_epoch"]]["composite_stop"] == max(row["composite_stop"] for row in curve)


def test_few_rows_mean_more_epochs_and_patience_ends_them(make_context: Maker) -> None:
    ctx = make_context(
        {"teacher": {"training": {"min_steps": 10, "patience_share": 0.2, "phase2": {"epochs": 0}}}}, rows=150
    )
    epochs: list[int] = []
    out = train(ctx, lambda progress: epochs.append(progress.epoch))
    assert 2 < len(epochs) <= 5  # 90 train rows in batches of 64: two steps an epoch
    assert len(epochs) == min(5, out.facts["best_epoch"] + 2)


def test_a_task_that_is_disabled_gets_no_tower(make_context: Maker) -> None:
    ctx = make_context(rows=150)
    old = ctx.read("labels")

    def make(out: Out) -> None:
        out.path("label_table.parquet").write_bytes(old.path("label_table.parquet").read_bytes())
        facts = {k: dict(v) for k, v in old.facts["tasks"].items()}
        facts["top_mcc_shift"]["status"] = "disabled"
        out.facts["tasks"] = facts

    ctx.produce("labels", make, sources={"source:edit": "x"})
    out = train(ctx)
    assert "top_mcc_shift" not in out.facts["tasks"]
    assert not [c for c in pl.read_parquet_schema(out.path("soft_labels.parquet")) if "top_mcc_shift" in c]


def test_a_feature_that_is_not_finite_is_refused_by_name(context: RunContext) -> None:
    rewritten(
        context, "features", "x_norm.parquet", lambda t: t.with_columns(holdings_1=pl.lit(float("nan"), pl.Float32))
    )
    with pytest.raises(SchemaError, match="holdings_1"):
        train(context)


@pytest.mark.parametrize("name", ["x_norm", "sequences", "edges", "diagrams"])
def test_tables_whose_rows_differ_are_refused(context: RunContext, name: str) -> None:
    rewritten(context, "features", f"{name}.parquet", lambda t: t.reverse())
    with pytest.raises(SchemaError, match=f"{name}.parquet: rows differ"):
        train(context)


@pytest.mark.parametrize(
    ("file", "change", "what"),
    [
        ("diagrams", pl.lit(None, pl.List(pl.Float32)).alias("tda_long"), "tda_long has"),
        ("diagrams", pl.lit([0.0, None, 1.0], pl.List(pl.Float32)).alias("tda_long"), "null or not finite"),
        ("diagrams", pl.lit([0.0, 0.5], pl.List(pl.Float32)).alias("tda_long"), "no list of triples"),
        ("diagrams", pl.lit([0.5, 0.2, 0.0], pl.List(pl.Float32)).alias("tda_long"), "death before its birth"),
        ("diagrams", pl.lit([0.0, 0.5, 7.0], pl.List(pl.Float32)).alias("tda_long"), "not of"),
        ("sequences", pl.lit([None], pl.List(pl.Float32)).alias("txn_seq"), "txn_seq holds a number that is null"),
        ("sequences", pl.lit(3, pl.Int32).alias("txn_len"), "do not match txn_len"),
    ],
)
def test_lists_that_would_shift_other_rows_are_refused(
    context: RunContext, file: str, change: pl.Expr, what: str
) -> None:
    rewritten(context, "features", f"{file}.parquet", lambda t: t.with_columns(change))
    with pytest.raises(SchemaError, match=what):
        data_of(context)


def test_a_class_beyond_the_list_is_refused(context: RunContext) -> None:
    rewritten(context, "labels", "label_table.parquet", lambda t: t.with_columns(nba_primary=pl.lit(4, pl.Int16)))
    with pytest.raises(SchemaError, match=r"nba_primary has values outside 0\.\.3"):
        train(context)


def test_immature_labels_are_unknown(context: RunContext) -> None:
    rewritten(context, "labels", "label_table.parquet", lambda t: t.with_columns(label_status=pl.lit("immature")))
    with pytest.raises(SchemaError, match="no train row carries it"):
        data_of(context)


@pytest.mark.rule("R11")
def test_a_batch_holds_what_the_tables_hold(context: RunContext) -> None:
    frame, features = data_of(context).frame, context.read("features")
    batch = frame.batch(torch.arange(40))
    sequences = pl.read_parquet(features.path("sequences.parquet"))[:40]
    np.testing.assert_allclose(batch.gap.numpy(), sequences["asof_gap"].to_numpy())
    np.testing.assert_allclose(batch.days.sum(1).numpy()[:1], [sum(sequences["txn_dt"][0][-16:])], rtol=1e-5)
    edges = pl.read_parquet(features.path("edges.parquet"))[:40]
    np.testing.assert_array_equal(batch.edges.numpy(), edges.drop("customer_key", "cutoff_date").to_numpy())
    diagrams = pl.read_parquet(features.path("diagrams.parquet"))[:40]
    for window, bars in batch.bars.items():
        assert (bars.count * 3).tolist() == diagrams[f"tda_{window}"].list.len().to_list()
        np.testing.assert_allclose(bars.points[1, : bars.count[1]].flatten(), diagrams[f"tda_{window}"][1].to_list())


@pytest.mark.rule("R12")
def test_the_newest_steps_are_kept_and_padding_is_zero(world: World) -> None:
    frame, steps = world.frame, world.inputs.max_steps
    long = int(torch.nonzero(frame.steps.offsets.diff() > steps)[0])
    batch = frame.batch(torch.tensor([long, 0]))
    end = int(frame.steps.offsets[long + 1])
    assert torch.equal(batch.steps[0], frame.steps.values[end - steps : end, :-1])
    assert torch.equal(batch.days[0], frame.steps.values[end - steps : end, -1])
    assert batch.steps[1, int(batch.length[1]) :].abs().sum() == 0


def test_groups_that_do_not_tile_the_columns_are_refused(context: RunContext) -> None:
    body = json.loads(context.read("features").path("schema.json").read_bytes())
    body["groups"][1]["start"] += 1
    from pipeline_lib.teacher.contract import Inputs

    with pytest.raises(SchemaError, match="group holdings starts at column 5, expected 4"):
        Inputs.from_schema(body, [], 8)


def test_a_dead_expert_stops_the_run(make_context: Maker) -> None:
    ctx = make_context({"teacher": {"training": {"min_expert_std": 100.0}}}, rows=150)
    with pytest.raises(TrainingDiverged, match="deepfm"):
        train(ctx)


def test_cuda_on_a_machine_without_it_is_refused() -> None:
    if torch.cuda.is_available():
        assert pick_device("auto").type == "cuda"
    else:
        assert pick_device("auto").type == "cpu"
        with pytest.raises(SettingsError, match="device is cuda"):
            pick_device("cuda")


@pytest.mark.rule("R32")
@pytest.mark.parametrize(
    ("section", "what"),
    [
        ({"selection": {"ndcg_tasks": ["nba_primry"]}}, "selection.ndcg_tasks"),
        ({"calibration": {"class_bias": ["nba_primry"]}}, "calibration.class_bias"),
        ({"calibration": {"linear": ["churn_signl"]}}, "calibration.linear"),
        ({"gating": {"preferred": {"nba_primry": ["hgcn"]}}}, "gating.preferred"),
        ({"gating": {"literal": {"nba_primry": ["hgcn"]}}}, "gating.literal"),
        ({"architecture": {"hmm": {"modes": {"nba_primry": "journey"}}}}, "architecture.hmm.modes"),
        ({"adatt": {"intra_group": {"lifecicle": 0.5}}}, "adatt.intra_group"),
    ],
)
def test_a_misspelt_task_or_group_is_refused(make_settings, section: dict[str, Any], what: str) -> None:
    with pytest.raises(SettingsError, match=what):
        make_settings("synthetic", {"teacher": section})


def test_an_expert_twice_is_refused(make_settings) -> None:
    with pytest.raises(SettingsError, match="distinct and in the order"):
        make_settings("synthetic", {"teacher": {"experts": ["deepfm", "deepfm"]}})
