"""Policy of product_hierarchy, hyperbolic_embedding and merchant_hierarchy."""

from __future__ import annotations

from pydantic import Field

from pipeline_lib.settings.base import Section


class BallFit(Section):
    """Riemannian gradient descent of a tree in the Poincare ball, and the gate it has to pass."""

    learning_rate: float = Field(gt=0)
    """Step; a tenth of it during burn-in. .01 leaves the embedding unfinished. Source: features.md 8.3."""
    burn_in_epochs: int = Field(ge=0)
    """First epochs, in which the nodes find their direction."""
    epochs: int = Field(ge=1)
    """Epochs after burn-in."""
    init: float = Field(gt=0, lt=1)
    """Coordinates start within +- this."""
    min_precision: float = Field(ge=0, le=1)
    """Mean average precision on (node, ancestor) pairs below which the embedding is refused."""
    min_parents_inside: float = Field(ge=0, le=1)
    """Share of nodes whose parent lies nearer the origin, below which the embedding is refused."""


class Hierarchy(Section):
    ball: BallFit
    product_dim: int = Field(ge=2)
    """Dimensions of the product tree's ball."""
    category_dim: int = Field(ge=2)
    """Dimensions of the category tree's ball."""
    min_branches: int = Field(ge=2)
    """Level-1 categories with train spend below which there is no hierarchy to speak of: with two of them every
    position is a function of one share."""
    decay_days: float = Field(gt=0)
    """Weight of a purchase: amount x exp(-age / this) [d]."""
    anchors: int = Field(ge=1)
    """Level-1 categories, those with most train spend, to which the distance is a column."""
    share_components: int = Field(ge=2)
    """Components of the level-2 spend shares at most."""
    fresh_days: float = Field(gt=0)
    """Freshness of a purchase: exp(-age / this) [d]."""
    recent_days: int = Field(ge=1, le=360)
    """Window of the count of merchants [d]."""
    many_merchants: int = Field(ge=1)
    """Merchants that count as one on the logarithmic scale of that count. Source: features.md 8.5."""
