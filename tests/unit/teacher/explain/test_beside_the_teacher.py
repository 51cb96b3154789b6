"""Explanations of the real network: they leave it alone, and its answers do not depend on who is asked beside whom."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline_lib.runs import Out, RunContext
from pipeline_lib.settings import Place, load
from pipeline_lib.settings.teacher.explain import Explain
from pipeline_lib.teacher.checkpoint import json_bytes
from pipeline_lib.teacher.explain.attribution import Fitting, Head, RunningMean
from pipeline_lib.teacher.explain.evidential import EvidentialHeads, hidden_states, standardised
from pipeline_lib.teacher.explain.sparse_codes import SparseCodes, activations
from pipeline_lib.teacher.explain.stage import Explained, draw, explain
from pipeline_lib.teacher.explain.subject import Subject, causal_view
from pipeline_lib.teacher.frame import FIT, GATE, SERVE
from pipeline_lib.teacher.model import TeacherOutput
from pipeline_lib.teacher.towers import activated
from tests.unit.teacher.bank import MONDAY, SMALL, World, column_names, fabricate, world_of
from tests.unit.teacher.explain.worlds import CPU

EVERYTHING = {
    "attribution": {"epochs": 2, "gate_rows": 100, "hidden": 8},
    "faithfulness": {"rows": 30},
    "out_of_distribution": {"probe_rows": 20},
    "sparse_codes": {"enabled": True, "width": 16, "epochs": 1},
    "evidential": {"enabled": True, "hidden": 4, "epochs": 1},
}


def subject_of(world: World) -> Subject:
    return Subject(world.model, world.inputs, world.tasks, world.frame, column_names(), 64, 32, 1, CPU)


def policy_of(world: World) -> Explain:
    body = world.ctx.settings.teacher.explain.model_dump()
    return Explain.model_validate({**body, **{k: {**body[k], **v} for k, v in EVERYTHING.items()}})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One for all tests here; who trains it works on a copy."""
    home = tmp_path_factory.mktemp("explain")
    (home / "small.yaml").write_text(json.dumps(SMALL))
    ctx = RunContext.open(
        load("synthetic", Place(dataset="synthetic", home=home, overrides=home / "small.yaml")), MONDAY
    )
    fabricate(ctx, 300)
    return world_of(ctx)


@pytest.fixture(scope="module")
def subject(world: World) -> Subject:
    return subject_of(world)


def state(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def copied(s: Subject) -> Subject:
    return replace(s, model=deepcopy(s.model))


def side_steps(s: Subject) -> Iterator[None]:
    """One step of every side head per turn, in the middle of the main training."""
    view = causal_view(s)
    assert view is not None
    batch = s.frame.batch(s.frame.part(FIT)[:50])
    with torch.random.fork_rng():
        head = Head(view.block(batch).shape[1], 8, len(view.columns), 1.0)
        heads = EvidentialHeads(s.tasks, hidden_states(s.model, s.frame, torch.arange(1), CPU).shape[-1], 4)
        codes = SparseCodes(activations(s.model, s.frame, torch.arange(1), 1, CPU).shape[1], 16)
    readout = torch.ones(view.block(batch).shape[1])
    fitting = Fitting(view, readout, head, RunningMean(0.9), torch.optim.AdamW(head.parameters(), 1e-2))
    others = torch.optim.Adam([*heads.parameters(), *codes.parameters()], 1e-2)
    while True:
        fitting.step(batch)
        rows = s.frame.part(FIT)[:20]
        labels = standardised(s.tasks, s.frame.targets(rows))
        others.zero_grad()
        loss = heads.loss(hidden_states(s.model, s.frame, rows, CPU), labels, 0.01, 1.0)
        (loss + codes.loss(activations(s.model, s.frame, rows, 20, CPU), 1e-3)).backward()
        others.step()
        yield


def train_main(s: Subject, beside: Iterator[None] | None) -> dict[str, Tensor]:
    """Twenty steps with dropout on; gradients are clipped over all that have one, as a training loop does."""
    torch.manual_seed(3)
    s.model.train()
    optimiser = torch.optim.AdamW(s.model.parameters(), 1e-2)
    for step in range(20):
        out = s.model(s.frame.batch(s.frame.part(FIT)[step * 8 : step * 8 + 8]))
        optimiser.zero_grad()
        sum(z.square().mean() for z in out.logits.values()).backward()
        if beside:
            next(beside)
        torch.nn.utils.clip_grad_norm_(s.model.parameters(), 1.0)
        optimiser.step()
    return state(s.model)


@pytest.mark.rule("R26")
def test_side_heads_leave_the_main_parameters_bit_equal(subject: Subject) -> None:
    """Even trained in between, which they are not: no gradient, no random number and no mode of the teacher moves."""
    start = state(subject.model)
    alone = train_main(copied(subject), None)
    other = copied(subject)
    beside = train_main(other, side_steps(other))
    assert all(torch.equal(alone[name], beside[name]) for name in alone)
    assert any(not torch.equal(alone[name], start[name]) for name in alone)


@pytest.mark.rule("R26")
def test_explaining_leaves_the_finished_teacher_untouched(world: World) -> None:
    s, before = copied(subject_of(world)), state(world.model)
    s.model.train()
    chance = torch.get_rng_state()
    explain(s, policy_of(world))
    after = state(s.model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.grad is None for p in s.model.parameters())
    assert all(m.training for m in s.model.modules())
    assert torch.equal(torch.get_rng_state(), chance)


@pytest.fixture(scope="module")
def explained(world: World) -> Explained:
    return explain(subject_of(world), policy_of(world), causal_graph={"healthy": False})


def test_the_report_can_be_written_and_names_everything(explained: Explained) -> None:
    report = json.loads(json_bytes(explained.report))
    assert set(report) == {
        "out_of_distribution", "attribution", "faithfulness", "multi_factor", "causal_graph", "crosses",
        "sparse_codes", "evidential",
    }  # fmt: skip
    assert report["causal_graph"] == {"healthy": False}
    assert report["attribution"]["method"] in ("head", "exact")
    assert set(report["out_of_distribution"]["flagged"]) == {"fit", "stop", "calib", "fidelity", "gate", "serve"}
    assert json.loads(json_bytes(explained.body))["out_of_distribution"]["as_of"]


def test_the_table_covers_the_rows_of_the_gate_weights(world: World, explained: Explained) -> None:
    rows = world.frame.part(GATE, SERVE)
    expected = world.frame.keys[rows.numpy()].select("customer_key", "cutoff_date")
    assert explained.table.select("customer_key", "cutoff_date").equals(expected)
    assert explained.table["ood_score"].null_count() == 0
    assert explained.table["attr_column"].list.len().to_list() == [10] * len(rows)


def test_a_failing_head_is_replaced_by_the_exact_target(world: World) -> None:
    """No head can match its target perfectly: the bound makes it fail, and the table carries the target."""
    policy = policy_of(world)
    strict = policy.model_copy(
        update={"attribution": policy.attribution.model_copy(update={"min_target_spearman": 1.0})}
    )
    found = explain(subject_of(world), strict)
    assert found.report["attribution"]["method"] == "exact"
    assert found.attribution is not None
    s, rows = subject_of(world), world.frame.part(GATE, SERVE)
    own = found.attribution.attributor.exact().of(s.frame.batch(rows))
    first = own.gather(1, own.abs().argmax(1, keepdim=True))[:, 0]
    assert found.table["attr_value"].list.first().to_list() == pytest.approx(first.tolist(), rel=1e-4)


def test_explaining_twice_gives_the_same(world: World, explained: Explained) -> None:
    again = explain(subject_of(world), policy_of(world), causal_graph={"healthy": False})
    assert again.table.equals(explained.table)
    assert json_bytes(again.report) == json_bytes(explained.report)
    assert all(torch.equal(again.tensors[name], explained.tensors[name]) for name in explained.tensors)


def test_the_pictures_are_drawn(explained: Explained, tmp_path: Path) -> None:
    out = Out(tmp_path)
    draw(out, explained)
    for name in ("ood.png", "attribution.png", "faithfulness.png"):
        assert (tmp_path / name).stat().st_size > 5000


def flat(out: TeacherOutput) -> Tensor:
    """Everything a row's answer consists of. (B, values)."""
    parts = [z.reshape(len(out.hidden), -1) for z in out.logits.values()]
    parts += [d.float().reshape(len(out.hidden), -1) for d in out.seen.diag.values()]
    parts += [out.gate_stage1.flatten(1), out.gate_stage2.flatten(1), out.hidden.flatten(1)]
    return torch.cat([*parts, *out.seen.blocks], dim=1)


def answered(s: Subject, rows: Tensor) -> tuple[Tensor, Tensor]:
    """What leaves the teacher (probabilities, standardised values, gate weights), and everything on the way."""
    with torch.no_grad():
        out = s.model(s.frame.batch(rows))
    said = [activated(out.logits[t.name], t.kind, 0.0, 1.0).reshape(len(rows), -1) for t in s.tasks]
    return torch.cat([*said, out.gate_stage2.flatten(1)], dim=1), flat(out)


@pytest.mark.rule("R37")
def test_a_row_gets_the_same_answer_alone_and_among_256(subject: Subject) -> None:
    """To 1e-6; inside, float32 sums of one row and of many take another order, which a LayerNorm may enlarge."""
    subject.model.eval()
    rows = torch.arange(256)
    said, inside = answered(subject, rows)
    alone = [answered(subject, row) for row in rows.split(1)]
    assert float((said - torch.cat([a for a, _ in alone])).abs().max()) < 1e-6
    assert float((inside - torch.cat([b for _, b in alone])).abs().max()) < 2e-5


@pytest.mark.rule("R37")
def test_a_row_gets_the_same_explanation_alone_and_among_others(subject: Subject, explained: Explained) -> None:
    s, rows = subject, torch.arange(256)
    assert explained.attribution is not None
    assert explained.distances is not None
    chosen, reference, view = explained.attribution.attributor, explained.distances.reference, causal_view(s)
    assert view is not None
    for one in (chosen, chosen.exact()):
        alone = torch.cat([one.of(s.frame.batch(row)) for row in rows.split(1)])
        assert float((one.of(s.frame.batch(rows)) - alone).abs().max()) < 1e-6

    def far(rows: Tensor) -> Tensor:
        batch = s.frame.batch(rows)
        return reference.distances(view.latent(batch), view.own(batch.x))

    assert torch.allclose(torch.cat([far(row) for row in rows.split(1)]), far(rows), atol=1e-5)


@pytest.mark.rule("R37")
def test_two_threads_get_the_same_answers(subject: Subject) -> None:
    """Different rows at the same time through one model: nothing of one call is left for the other to find."""
    s, view = subject, causal_view(subject)
    assert view is not None
    s.model.eval()
    readout = torch.ones(view.block(s.frame.batch(torch.arange(1))).shape[1])

    def answer(rows: Tensor) -> tuple[Tensor, Tensor]:
        batch = s.frame.batch(rows)
        with torch.no_grad():
            return flat(s.model(batch)), view.gradient_times_input(batch, readout)

    pieces = [torch.arange(330)[i : i + 30] for i in range(0, 300, 30)] * 6
    expected = [answer(rows) for rows in pieces]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(answer, pieces))
    for (a, b), (c, d) in zip(expected, found, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)
