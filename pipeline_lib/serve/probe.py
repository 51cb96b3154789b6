"""Does a verified version answer? Asked of the real loader and models before a version may serve."""

from __future__ import annotations

from pipeline_lib.errors import ActivationFailed
from pipeline_lib.registry.versions import LocalVersion
from pipeline_lib.serve.handler import load
from pipeline_lib.serve.layers import Overrides, Row

BROKEN = ("MODEL_MISSING", "PREDICT_FAILED", "NON_FINITE")


def answers(version: LocalVersion) -> None:
    """Load the version as the function does and answer a row of zeros; returns nothing.

    Raises:
        ActivationFailed: the models do not load, or one of them has no answer.
    """
    policy = load(version.folder, version.package.sha256)
    models = policy.models
    if models.predictor is None:
        raise ActivationFailed(f"{version.package.version}: {models.refused}")
    columns = tuple(str(name) for name in models.bundle.policy["features"]["columns"])
    found = models.answer(Row([0.0] * len(columns), columns, ""), Overrides())
    if broken := {name: one.layer_reason for name, one in found.items() if one.layer_reason in BROKEN}:
        raise ActivationFailed(f"{version.package.version} does not answer: {broken}")
