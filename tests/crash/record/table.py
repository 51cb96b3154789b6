"""The crash table as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from tests.crash.record.scene import Result

HEAD = ("what happens", "times", "acknowledged", "lost", "doubled", "whole without receipt", "meanwhile", "afterwards")


def table(results: Sequence[Result]) -> str:
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    family = ""
    for one in results:
        if one.family != family:
            family = one.family
            lines.append(f"| **{family}** |" + " |" * (len(HEAD) - 1))
        cells = (one.case, one.times, one.acknowledged, one.lost, one.doubled, one.whole, one.meanwhile, one.verdict)
        lines.append(f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else cell for cell in cells)} |")
    return "\n".join(lines)
