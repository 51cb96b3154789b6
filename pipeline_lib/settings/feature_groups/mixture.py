"""Policy of gmm_clustering: a Gaussian mixture over columns of other groups."""

from __future__ import annotations

from pydantic import Field

from pipeline_lib.settings.base import Section


class Mixture(Section):
    clusters: int = Field(ge=2)
    """Components to begin with; dead ones are left out. A human changes it, on the selection report."""
    covariance_floor: float = Field(gt=0)
    """Added to every variance (z units squared)."""
    tolerance: float = Field(gt=0)
    """Change of the mean log-likelihood below which a fit ends [nats]."""
    max_iterations: int = Field(ge=1)
    """Of expectation-maximisation, per start."""
    starts: int = Field(ge=1)
    """Fits from different seeds; the likeliest is kept, of equal ones the first."""
    equal_likelihood: float = Field(ge=0)
    """Two starts nearer than this are equal [nats per row]."""
    fit_rows: int = Field(ge=1)
    """Train rows at most, evenly spaced. The cost of a fit grows with them and not with the bank [rows]."""
    clip_z: float = Field(gt=0)
    """Clip of the standardised inputs [standard deviations]."""
    min_distinct: int = Field(ge=2)
    """Distinct train values below which an input is no continuous one and is left out."""
    min_inputs: int = Field(ge=2)
    """Inputs below which there is no mixture, and the group leaves the schema."""
    cold_share: float = Field(gt=0, lt=1)
    """A row that lacks more than this share of its inputs belongs to no cluster: uniform [0..1]."""
    dead_share: float = Field(ge=0, lt=1)
    """A component with a smaller mean responsibility is dead [0..1]."""
