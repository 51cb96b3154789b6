"""The stage as a whole on a fabricated bank: what it writes, that it repeats, that it resumes."""

from __future__ import annotations

from pipeline_lib.runs import RunContext
from pipeline_lib.teacher.train import train


def test_smoke(context: RunContext, caplog) -> None:
    caplog.set_level("INFO")
    out = train(context)
    print(out.facts)
    print(caplog.text)
