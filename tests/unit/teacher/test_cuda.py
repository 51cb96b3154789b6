"""The teacher on a CUDA card; the code of `make gpu-check` runs on the CPU in any case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from pipeline_lib.runs import RunContext
from pipeline_lib.settings import Settings
from pipeline_lib.teacher.resume import Progress
from pipeline_lib.teacher.train import train
from scripts import gpu_check

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: make gpu-check")


def test_the_check_measures_both_precisions(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings("synthetic")
    data = gpu_check.fabricate(settings, 32)
    speed, _, losses = gpu_check.measure(settings, data, torch.device("cpu"), 16, 1, "bf16")
    assert speed > 0
    assert all(torch.tensor(losses).isfinite())


@pytest.mark.gpu
@needs_cuda
def test_a_run_on_the_card_is_killed_in_phase_2_and_goes_on(make_context: Callable[..., RunContext]) -> None:
    ctx = make_context({"teacher": {"device": "cuda", "training": {"phase2": {"epochs": 2}}}}, rows=200)

    def kill(progress: Progress) -> None:
        if progress.phase == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(ctx, kill)
    assert train(ctx).facts["explained"]["faithful_tasks"] is not None


@pytest.mark.gpu
@pytest.mark.rule("R39")
@needs_cuda
@pytest.mark.parametrize("batch_rows", [2048, 4096])
def test_the_production_batch_stays_below_11_gib(batch_rows: int, make_settings: Callable[..., Settings]) -> None:
    settings = make_settings("synthetic")
    data = replace(gpu_check.fabricate(settings, batch_rows))
    for precision in ("fp32", "bf16"):
        _, memory, _ = gpu_check.measure(settings, data, torch.device("cuda"), batch_rows, 3, precision)
        assert memory < gpu_check.MOST_GIB
