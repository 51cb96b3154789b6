"""Soft labels to students: one small LightGBM model per task that repeats its teacher, and proof that it does.

In order: read one task's rows (``frame``), ask whether there is evidence (``evidence``), choose the route
(``routing``), choose columns (``columns``), grow with the exact objective (``objective``, ``booster``), calibrate
(``calibration``), judge (``statistics``, ``verdict``, ``acceptance``), sum up (``assemble``).

    for task in active_tasks(ctx):
        fit_student(ctx, task)
    assemble(ctx)
"""

from pipeline_lib.distill.assemble import assemble
from pipeline_lib.distill.student import active_tasks, fit_student

__all__ = ["active_tasks", "assemble", "fit_student"]
