"""Policy of teacher: ``config/teacher.yaml``."""

from __future__ import annotations

from pipeline_lib.settings.base import Section


class Teacher(Section):
    pass
