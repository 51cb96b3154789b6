"""Policy of audit: ``config/audit.yaml``."""

from __future__ import annotations

from pipeline_lib.settings.base import Section


class Audit(Section):
    pass
