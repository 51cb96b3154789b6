"""Policy of distillation: ``config/distillation.yaml``."""

from __future__ import annotations

from pipeline_lib.settings.base import Section


class Distillation(Section):
    pass
