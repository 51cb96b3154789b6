"""Policy of serving: ``config/serving.yaml``."""

from __future__ import annotations

from pipeline_lib.settings.base import Section


class Serving(Section):
    pass
