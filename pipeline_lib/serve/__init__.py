"""The Lambda: one request in, one recorded answer out, from the released package alone.

    handler.py     the gateway's event -> response     service.py    the steps of one answer
    request.py     what a request must look like       tables.py     what is known of a customer, from ..items
    bundle.py      the released folder, verified       predictor.py  students through LightGBM's C interface
    layers.py      which layer answers each task       rules.py      layer 3, when no model may or can answer
    suitability.py caps no file can loosen             score.py      FD-TVS          slate.py   filter and choose
    trees.py       contributions along tree paths      reasons.py    templates       guardrail.py  five criteria
    explain.py     why, asked for later                keep.py       what that needs      rewrite/  by a model
    record.py      the four audit entries              batch.py      the same answers for the gate's rows

Standard library and ``lib_lightgbm.so`` only: no torch, airflow, numpy, lightgbm package or cryptography.
``batch.py``, ``everyone.py`` and ``replay.py`` run in DAG tasks and use Polars; nothing here imports them.
"""
