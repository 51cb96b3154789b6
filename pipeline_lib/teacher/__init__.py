"""The teacher: one multi-task network over named experts, whose gate weights are the explanation.

In order: ``frame`` (artefacts -> tensors), ``model`` (experts -> two gate stages -> baskets -> towers), ``loss``
and ``weighting``, ``train`` (the loop and the stage's entry point), ``calibration``, ``predict`` (soft labels and
gate weights), ``checkpoint`` and ``resume``. It never serves: its soft labels leave as a table.

    from pipeline_lib.runs import RunContext
    from pipeline_lib.teacher.train import train
    train(RunContext.open(settings, logical_date))
"""
