"""What predicts: our kernel, or LightGBM's own library where the kernel cannot be loaded.

Both give the same raw scores to the last bit (docs/serving-benchmark.md); LightGBM's starts slower, because it
parses text. It is also the oracle: ``oracle.py`` asks it about every challenger before the gate.
"""

from __future__ import annotations

from pipeline_lib.serve.kernel import Kernel, LibraryFailed, find_kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from pipeline_lib.forest.layout import Forest

    class Model(Protocol):
        """One forest that answers rows [features] of float32."""

        forest: Forest

        def raw(self, row: Sequence[float]) -> tuple[float, ...]:
            """Raw scores [outputs]."""

        def contributions(self, row: Sequence[float], output: int = 0) -> tuple[float, list[float]]:
            """(bias, one value per feature) of one raw score."""

    class Engine(Protocol):
        def model(self, forest: Forest) -> Model:
            """Raises ContractError or LibraryFailed."""


def open_engine(lightgbm_sha256: str | None = None) -> Engine:
    """The kernel, else LightGBM's installed library.

    Args:
        lightgbm_sha256: the only library that may answer, as a manifest names it; None: whatever is installed.

    Raises:
        LibraryFailed: neither is there.
    """
    try:
        return Kernel(find_kernel())
    except LibraryFailed as error:
        return _lightgbm(lightgbm_sha256, str(error))


def _lightgbm(sha256: str | None, why: str) -> Engine:
    # Only here: a start that does not need them should not pay for them.
    import logging

    from pipeline_lib.serve.lightgbm_c import Library, find_library

    logging.getLogger(__name__).warning("predicting through LightGBM's library: %s", why)
    return Library(find_library(sha256))
