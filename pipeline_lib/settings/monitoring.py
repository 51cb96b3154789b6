"""Policy of monitoring: ``config/monitoring.yaml``."""

from __future__ import annotations

from pipeline_lib.settings.base import Section


class Monitoring(Section):
    pass
