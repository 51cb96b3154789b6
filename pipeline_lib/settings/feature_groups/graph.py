"""Policy of the customer-item graph: graph_collaborative and graph_stats."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline_lib.settings.base import Section


class LightGcn(Section):
    """How item vectors are trained on the train graph. Source: teacher.md 5.2, features.md 8.1."""

    hops: int = Field(ge=1)
    """Layers after layer 0; the final vector is the mean over all."""
    steps: int = Field(ge=1)
    """Batches of training: the cost does not grow with the bank."""
    batch: int = Field(ge=1)
    """Triples (customer, item, item not there) in a batch; at most the number of edges."""
    learning_rate: float = Field(gt=0)
    """Adam's at the first step, in units of a vector's entry; falls to 0 in a line."""
    l2: float = Field(ge=0)
    """Weight of the squared length of all layer-0 vectors together, beside the mean loss of a triple. Entries grow to
    about the root of an item's degree, so this is far below the published 1e-4, which is per vector of a batch."""
    init: float = Field(gt=0)
    """Standard deviation of layer 0 at the start."""
    added_weight: float = Field(ge=0)
    """A product edge is drawn as a positive 1 + this x (times the product was added in the months observed) times as
    often: what is taken tells more of what will be taken than what was always there."""
    product_share: float = Field(gt=0, lt=1)
    """Share of the positives that are products; the others are categories. With one kind in the source: all."""


class Graph(Section):
    backend: Literal["lightgcn", "svd", "none"]
    """What gives the items their place: vectors trained to rank what is taken next, a truncated decomposition of the
    train graph, or nothing (both groups leave the schema)."""
    width: int = Field(ge=2)
    """Dimensions at most; a graph of n items has at most n - 1. Source: features.md 8.1."""
    lightgcn: LightGcn
