"""Policy of compliance: ``config/compliance.yaml``."""

from __future__ import annotations

from pipeline_lib.settings.base import Section


class Compliance(Section):
    pass
