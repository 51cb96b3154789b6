"""The gate: challenger against champion, one verdict, one row in the record.

attempt.py (which verdict a run asks for) -> evidence.py (the sealed rows) -> ladder.py (the fixed order) with floor.py
(fidelity), metrics.py, measure.py, significance.py, sets.py, table.py, compare.py (the competition), hooks.py and
advice.py (vetoes, what other stages found) -> verdict.py, render.py -> decide.py (the stage). recompute.py computes a
verdict again from the record. signoff.py and force.py are the two ways in which a person decides. Section numbers are
those of promotion.md.
"""
