"""What serves is asked beside LightGBM itself, on real rows, before the gate may look at a version.

LightGBM's library reads the text a model was trained as; the engine reads what was made of it. Their raw scores must
be the same bits. Runs where LightGBM is installed, in a DAG task; the function never imports this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline_lib.errors import ContractError
from pipeline_lib.forest.layout import Forest
from pipeline_lib.serve.bundle import Bundle
from pipeline_lib.serve.lightgbm_c import Booster, Library, find_library
from pipeline_lib.serve.predictor import RULES, Predictor, model_name
from pipeline_lib.serve.trees import Trees

if TYPE_CHECKING:
    from pipeline_lib.serve.engine import Model


def require_lightgbms_scores(
    bundle: Bundle, predictor: Predictor, columns: tuple[str, ...], rows: Sequence[Sequence[float]]
) -> int:
    """Ask every model that may answer, standby twins included; returns how many there are.

    Args:
        columns: names of the values of ``rows`` [R, P].

    Raises:
        ContractError: naming model and row whose raw scores differ in any bit.
        LibraryFailed: there is no LightGBM to ask.
    """
    library, asked = Library(find_library()), 0
    for task in bundle.manifest["tasks"]:
        name, first = str(task["name"]), int(task["serve_layer"])
        for layer in range(first, RULES):
            path = f"students/{name}/{model_name(task['route'], layer)}.txt"
            if layer > first and not bundle.lists(path):
                continue  # no twin was trained: the task's next layer is rules
            student = predictor.student(name, layer)
            inputs = [student.row(values, columns)[0] for values in rows]
            require_same(student.forest, _as_trained(library, bundle, path, student.forest.forest), inputs, path)
            asked += 1
    return asked


def require_same(model: Model, oracle: Model, rows: Sequence[Sequence[float]], where: str) -> None:
    """Raises ContractError naming the first row [P] whose raw scores differ in any bit."""
    for number, row in enumerate(rows):
        if (found := model.raw(row)) != (expected := oracle.raw(row)):
            raise ContractError(f"{where}: row {number} gives {found}, LightGBM gives {expected}")


def _as_trained(library: Library, bundle: Bundle, path: str, forest: Forest) -> Booster:
    return Booster(library, forest, bundle.read(path), Trees(forest))
