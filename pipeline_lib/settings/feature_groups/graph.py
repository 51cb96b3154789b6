"""Policy of the customer-item graph: graph_collaborative and graph_stats."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline_lib.settings.base import Section


class Graph(Section):
    backend: Literal["svd", "none"]
    """What gives the items their place: a truncated decomposition of the train graph, or nothing (both groups leave
    the schema). Item tables trained with the teacher come with the teacher."""
    width: int = Field(ge=2)
    """Dimensions at most; a graph of n items has at most n - 1. Source: features.md 8.1."""
