"""Facts of the place: where stores, keys and the release target are. The only reader of the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from pipeline_lib.errors import SettingsError
from pipeline_lib.settings.base import Section

REPO = Path(__file__).resolve().parent.parent.parent
VAR = REPO / "var"
PREFIX = "PIPELINE_"


class Place(Section):
    """Each field is the environment variable ``PIPELINE_<FIELD>``. Stores not named lie under ``home``."""

    env: Literal["local", "staging", "prod"] = "local"
    """Which rules apply: ``prod`` refuses overrides and automatic promotion."""
    dataset: str = "synthetic"
    """Which source of ``config/sources`` runs when none is named."""
    source: Path | None = Field(default=None, strict=False)
    """Folder with the raw files of the source; the synthetic source needs none."""
    home: Path = Field(default_factory=lambda data: VAR / data["dataset"], strict=False)
    """Folder of everything this place keeps on local disk: one bank, one home."""
    root: str = Field(default_factory=lambda data: f"file://{data['home']}/store")
    """Object store of runs, registry and reports: ``file:///path`` or ``s3://bucket/prefix``."""
    audit: str = Field(default_factory=lambda data: f"file://{data['home']}/audit")
    """Store of the record's evidence segments; in production a bucket with Object Lock."""
    audit_secondary: str | None = None
    """Store that the serving function writes to while ``audit`` does not take its entries; read with it, never
    written from here."""
    anchors: str = Field(default_factory=lambda data: f"file://{data['home']}/anchors")
    """Store of the signed checkpoints, apart from the record; in production another account."""
    query_store: str = Field(default_factory=lambda data: f"{data['home']}/lancedb")
    """LanceDB folder or ``s3://`` URI: the record's query tables, rebuildable from the evidence."""
    keys: Path = Field(default_factory=lambda data: data["home"] / "keys", strict=False)
    """Folder of secrets."""
    tables: str | None = Field(default=None, pattern=r"^dynamodb:[A-Za-z0-9_.-]+$")
    """``dynamodb:<prefix of the tables' names>``: the weekly export writes the feature rows there too, and oversight's
    state is there. None: both are files of the store, under ``serving/<dataset>``."""
    target: str = Field(default_factory=lambda data: f"file://{data['home']}/releases")
    """Release target: ``file:///folder`` or ``lambda:<function name>``."""
    overrides: Path | None = Field(default=None, strict=False)
    """A policy file laid over ``config/``: for experiments on a laptop and for tests."""
    recompute: bool = Field(default=False, strict=False)
    """Make finished stages again and fail if the bytes differ."""
    threads: int = Field(default=2, ge=1, strict=False)
    """Threads of one stage's numeric work; results do not depend on it."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, dataset: str | None = None) -> Place:
        """Raises SettingsError for a variable with our prefix that nothing reads, or with a bad value."""
        environ = os.environ if environ is None else environ
        given = {k.removeprefix(PREFIX).lower(): v for k, v in environ.items() if k.startswith(PREFIX) and v}
        given |= {"dataset": dataset} if dataset else {}
        if unknown := sorted(given.keys() - cls.model_fields.keys()):
            raise SettingsError(
                "environment: " + ", ".join(f"{PREFIX}{name.upper()}" for name in unknown) + " means nothing here; "
                "known: " + ", ".join(f"{PREFIX}{name.upper()}" for name in cls.model_fields)
            )
        try:
            place = cls.model_validate(given)
        except ValidationError as error:
            lines = [f"environment: {PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors()]
            raise SettingsError("\n".join(lines)) from None
        if place.env == "prod" and place.overrides:
            raise SettingsError("environment: PIPELINE_OVERRIDES is refused in prod")
        return place
