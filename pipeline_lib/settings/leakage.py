"""Policy of leakage: ``config/leakage.yaml``."""

from __future__ import annotations

from pipeline_lib.settings.base import Section


class Leakage(Section):
    pass
