"""Planted leaks: proof that every leakage check stops a run, and that an honest run passes.

for row in run_plants():
    print(row.plant, row.check, row.verdict, row.message)
"""

from pipeline_lib.features.plants.run import PlantResult, run_plants

__all__ = ["PlantResult", "run_plants"]
