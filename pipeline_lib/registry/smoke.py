"""Does a verified version answer at all? The last check that no path skips, a forced one included.

A probe takes a verified copy and raises when it does not answer. The one here needs no model library: it looks at
what the copy must hold. Whoever wires a target passes a probe that asks the real handler.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline_lib.errors import ActivationFailed
from pipeline_lib.registry.versions import LocalVersion

Probe = Callable[[LocalVersion], None]
MODEL_HEADER = b"tree\n"
"""First line of a LightGBM text model."""


def complete_and_loadable(version: LocalVersion) -> None:
    """Every task served by a model has one; returns nothing, raises ActivationFailed."""
    package = version.package
    for task in package.tasks.values():
        if not task.has_model:
            continue
        path = version.folder / task.model_path
        if not path.is_file() or not path.read_bytes().startswith(MODEL_HEADER):
            raise ActivationFailed(
                f"{package.version}: {task.name} is answered by layer {task.layer} but {task.model_path} is no model"
            )
