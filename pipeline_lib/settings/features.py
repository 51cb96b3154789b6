"""Policy of features: ``config/features.yaml``."""

from __future__ import annotations

from pipeline_lib.settings.base import Section


class Features(Section):
    pass
