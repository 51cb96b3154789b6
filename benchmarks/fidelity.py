"""How faithful the students are: 13 tasks x all criteria for finished runs, as Markdown.

    python -m benchmarks.fidelity --runs var/synthetic/store [<store of another seed> ...] [--out var/fidelity.md]

Reads the newest ``distill`` stage of each store and trains nothing. Figures are out of sample (part ``fidelity``). The
original's definitions stand below ours. ``speed_ratio`` is not among them: no stage keeps a clock.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Report = Mapping[str, Any]
COUNTS = ("distilled", "tier1_pass", "strict_pass", "direct_accepted", "rules")
STATISTICS = (
    "kl", "kl_rel", "dispersion", "auc_gap", "f1_gap", "nmae_gap", "nrmse_gap", "ece", "rank_corr", "agreement",
    "jsd", "topdecile_overlap", "quartile_agreement", "segment_gap",
)  # fmt: skip
ORIGINAL = ("auc_gap", "f1_gap", "original_rmse_gap", "original_mae_gap", "original_calibration_gap", "agreement",
            "quartile_agreement", "jsd", "rank_corr")  # fmt: skip
"""What the original published: raw-unit gaps and the difference of the two calibration errors."""


def main() -> int:
    asked = _arguments()
    page = "\n\n".join(section(store, newest(store)) for store in asked.runs) + "\n"
    sys.stdout.write(page)
    if asked.out:
        asked.out.write_text(page, encoding="utf-8")
    return 0


def newest(store: Path) -> Report:
    """The ``fidelity.json`` that the manifest of the last finished ``distill`` stage of a store names."""
    manifests = sorted(store.glob("runs/*/*/distill/manifest.json"), key=lambda path: path.parts[-3])
    if not manifests:
        raise SystemExit(f"{store}: no finished distill stage under runs/<dataset>/<date>/")
    outputs = json.loads(manifests[-1].read_text(encoding="utf-8"))["outputs"]
    found = manifests[-1].parent / next(entry["path"] for entry in outputs if entry["path"].endswith("/fidelity.json"))
    body: Report = json.loads(found.read_text(encoding="utf-8"))
    return body


def section(store: Path, report: Report) -> str:
    """One store: the five numbers, our criteria, and the original's definitions."""
    summary = report["summary"]
    counts = ", ".join(f"{name} {summary[name]}" for name in COUNTS)
    title = f"### {store}: {report['dataset']}, {report['logical_date']}"
    return "\n\n".join(
        [title, f"**{summary['headline']}**: {counts}.", _table(report, STATISTICS), "Original's definitions:",
         _table(report, ORIGINAL)]
    )  # fmt: skip


def _table(report: Report, names: Sequence[str]) -> str:
    head = f"| task | route | verdict | {' | '.join(names)} |"
    lines = [head, "|---" * (len(names) + 3) + "|"]
    for task in report["summary"]["expected_tasks"]:
        own = report["tasks"].get(task)
        lines.append(f"| {task} | {_row(own, names) if own else 'missing |' + ' |' * (len(names) + 1)}")
    return "\n".join(lines)


def _row(own: Report, names: Sequence[str]) -> str:
    verdict = own["verdict"] + (" (strict)" if own.get("strict_pass") else "")
    return " | ".join([f"{own['route']}: {own['route_reason']}", verdict, *(_cell(own, name) for name in names)]) + " |"


def _cell(own: Report, name: str) -> str:
    """The figure; ``!!`` misses Tier 1, ``!`` misses Tier 2."""
    if name not in own["metrics"]:
        return ""
    value = own["metrics"][name]
    if value is None:
        return "unknown"
    missed = {tier: {miss["criterion"] for miss in own.get(f"{tier}_failing", [])} for tier in ("tier1", "tier2")}
    return f"{value:.3f}" + (" !!" if name in missed["tier1"] else " !" if name in missed["tier2"] else "")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="store folders of finished runs")
    parser.add_argument("--out", type=Path, help="Markdown file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
