"""The library's door: imported late, quiet, without analytics."""

from __future__ import annotations

import logging
import warnings
from typing import Any

_TALKATIVE = ("great_expectations", "great_expectations.data_context.types.base")


def great_expectations() -> tuple[Any, Any]:
    """The module and its expectations. Three seconds, and warnings of its own dependencies that are not ours to fix."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import great_expectations as gx
        import great_expectations.expectations as expectations
    for name in _TALKATIVE:  # its import sets levels of its own
        logging.getLogger(name).setLevel(logging.WARNING)
    return gx, expectations


def quiet_context(gx: Any) -> Any:
    """A context in memory that reports to nobody and draws no bars."""
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    return context
