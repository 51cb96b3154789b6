"""Policy of the embedding of the daily rows (group ``mamba_temporal``)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from pipeline_lib.settings.base import Section


class DailyEmbedding(Section):
    backend: Literal["svd", "none"]
    """``svd``: truncated singular value decomposition learnt on train rows; ``none``: the group leaves the schema."""
    days: int = Field(ge=7, le=360)
    """Daily rows, ending at the cutoff [d]."""
    components: int = Field(ge=1, le=256)
    """Columns of the group."""
    fit_rows: int = Field(ge=100)
    """Train rows at most, evenly spread; bounds memory: 20,000 rows are about 150 MB."""

    @field_validator("backend", mode="before")
    @classmethod
    def _not_yet(cls, value: object) -> object:
        if value == "mamba":
            raise ValueError("the selective state-space encoder is trained with the teacher and not here: svd or none")
        return value
