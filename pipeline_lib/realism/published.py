"""The synthetic bank against published figures of the Santander set: for a place that has not the file itself."""

from __future__ import annotations

from pipeline_lib.realism.panel import Panel
from pipeline_lib.realism.rows import Row, judged
from pipeline_lib.settings.realism import Realism

JUMP = 6
"""Index of the seventh month, in which the published panel jumps."""


def published(panel: Panel, home_country: str, policy: Realism) -> list[Row]:
    """Shares of missing values, of the home country, and the growth of the panel."""
    p, rows = panel.profile, panel.rows_by_month
    found: dict[str, float | None] = {
        "income_missing": p["income"].null_count() / len(p),
        "home_country_share": int((p["country"] == home_country).sum()) / len(p),
        "tenure_unknown": p["tenure_months"].null_count() / len(p),
        "panel_jump": float(rows[JUMP] / rows[JUMP - 1]) if len(rows) > JUMP else None,
        "panel_growth": float(rows[-1] / rows[0]) if len(rows) >= 17 else None,
    }
    return [
        judged("published figures", name, f"{panel.name} / Santander", found[name], limit, note=_why(found[name]))
        for name, limit in policy.published.items()
    ]


def _why(value: float | None) -> str:
    return "" if value is not None else "the bank has fewer months than the published panel"
