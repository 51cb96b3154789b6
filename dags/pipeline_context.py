"""From Airflow's context to the library's: the only file in which the two words for a date meet."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context

if TYPE_CHECKING:
    from pipeline_lib.gate.request import Request
    from pipeline_lib.runs import RunContext

# A laptop without Celery has no executor of that name, and naming it would be a DAG import error.
CELERY = "CeleryExecutor" in os.environ.get("AIRFLOW__CORE__EXECUTOR", "")
CUDA: dict[str, Any] = {"queue": "cuda", "pool": "gpu"} | ({"executor": "CeleryExecutor"} if CELERY else {})
PROMOTION = {"pool": "promotion"}


def open_run() -> RunContext:
    """The run of the current task: its Seoul date, the shipped settings, the place's store."""
    from pipeline_lib import settings
    from pipeline_lib.business_time import run_date
    from pipeline_lib.runs import RunContext

    dag_run = get_current_context()["dag_run"]
    return RunContext.open(settings.load(), run_date(dag_run.logical_date or dag_run.run_after))


def is_backfill() -> bool:
    """Backfilled runs judge and never change the champion."""
    return str(get_current_context()["dag_run"].run_type.value) == "backfill"


def started_by() -> str | None:
    """Who triggered a manual run: that person may not sign it off. Nobody triggered a scheduled one."""
    dag_run = get_current_context()["dag_run"]
    return dag_run.triggering_user_name if str(dag_run.run_type.value) == "manual" else None


def promotable() -> bool | None:
    """Whether who started a run by hand says that it may change the champion; None for a run of the schedule."""
    context = get_current_context()
    return bool(context["params"]["promotable"]) if str(context["dag_run"].run_type.value) == "manual" else None


def typed_request(approver: str | None = None) -> tuple[Request, str, list[str]]:
    """What somebody typed into the force-promote form, who Airflow says they are, and keys that mean nothing.

    A run that nobody in particular triggered has no authenticated person, and is refused for that.
    """
    from pipeline_lib.gate.request import Request

    context = get_current_context()
    params, dag_run = context["params"], context["dag_run"]
    request = Request.typed(
        params["version"],
        params["operator"],
        params["reason"],
        dag_run.run_id,
        ticket=params["ticket"],
        approver=approver,
        approver_signed_in=approver is not None,
    )
    unknown = sorted(set(dag_run.conf or {}) - {"version", "reason", "operator", "ticket"})
    return request, dag_run.triggering_user_name or "nobody", unknown


def responder(answer: dict[str, Any] | None) -> str | None:
    """Login of who answered a question; None when it was not asked, or nobody answered in time."""
    return ((answer or {}).get("responded_by_user") or {}).get("name")


def reference(out: Any) -> dict[str, str]:
    """What goes through XCom: a name and a hash, never a table."""
    return {"stage": out.stage, "content_hash": out.content_hash}
