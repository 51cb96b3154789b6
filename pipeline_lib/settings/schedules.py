"""When the DAGs run and how long people have to answer: ``config/schedules.yaml``."""

from __future__ import annotations

from pydantic import Field

from pipeline_lib.settings.base import Section


class Schedules(Section):
    timezone: str
    """IANA zone of all schedules below."""
    weekly_promotion: str
    """Cron of the weekly promotion run."""
    nightly_oversight: str
    """Cron of the nightly oversight run."""
    nightly_scoring: str
    """Cron of everybody's answers, for branches that cannot call the function."""
    quarterly_compliance: str
    """Cron of the quarterly reports; the reported quarter is the one before the run's date."""
    signoff_hours: int = Field(ge=1, le=120)
    """Hours a cleared challenger waits for its approval [h]; shorter than a week, or the next Monday waits."""
    retries: int = Field(ge=0, le=5)
    """Retries of a task after an error that may pass (connection, store). Data errors are never retried."""
    retry_delay_s: int = Field(ge=0)
    """Seconds between retries [s]."""
