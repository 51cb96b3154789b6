"""Policy of promotion: ``config/promotion.yaml``."""

from __future__ import annotations

from pipeline_lib.settings.base import Section


class Promotion(Section):
    pass
