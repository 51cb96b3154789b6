"""How a stage judges its tables: the verdicts become its ``dq_report.json``, a failure leaves pages to look at."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

import polars as pl

from pipeline_lib.expectations import data_docs, suites
from pipeline_lib.runs import Out, RunContext


def judge(ctx: RunContext, stage: str, frames: Mapping[str, pl.DataFrame], out: Out) -> None:
    """Run the suites of a stage's tables and keep their verdicts.

    Args:
        frames: suite name -> rows.

    Raises:
        SettingsError: a frame has no suite, or a rule is none.
        SchemaError: a critical rule failed. A failed stage publishes nothing, so the Data Docs of its verdicts are
            drawn at once, beside those of the run; the message says where.
    """
    found = suites.verdicts(frames, ctx.settings.data.suites)
    out.path(data_docs.REPORT).write_bytes(suites.report_bytes(found))
    folder = data_docs.folder_of(ctx)
    failed = folder.with_name(f"{folder.name}-failed-{stage}")
    shutil.rmtree(failed, ignore_errors=True)
    page = ""
    if suites.critical_failures(found):
        page = str(data_docs.build({stage: found}, failed, ctx.dataset, ctx.logical_date))
    suites.require_no_critical(found, page)
