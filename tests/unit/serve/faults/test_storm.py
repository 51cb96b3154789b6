"""Under random faults nearly everybody is answered, everybody is told a documented thing, and nobody is unrecorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.serve.faults.storm import storm

REQUESTS, SEED = 2000, 1


def test_a_storm_of_faults_is_survived(bank: Any, tmp_path: Path) -> None:
    found = storm(bank, tmp_path, SEED, REQUESTS)
    print(found)  # every status and its count: shown with -rP, or when this fails
    assert found.answered >= 0.999 * found.good
    assert sum(found.outcomes.values()) == found.good + found.bad == REQUESTS
    assert found.personal == len(found.receipts)
    assert found.verdict == "INTACT"
    assert {1, 2, 3} <= found.layers.keys()
    assert found.outcomes["200 static_content, no receipt"] > 0, "the storm must reach both stores at once"
    assert found.personal > 0.9 * found.good
