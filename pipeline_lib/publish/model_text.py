"""What serving needs to know of a model beside its trees: gain per input, and which inputs it saw missing.

Read from LightGBM's text format, so that packaging needs no LightGBM.
"""

from __future__ import annotations

from typing import Any

_CATEGORICAL, _MISSING_NAN = 1, 2


def inputs(text: str) -> dict[str, Any]:
    """{gain: total per feature, knows_missing: whether its splits have a branch for NaN}, in feature order.

    A split on categories knows missing values: its other side takes them.
    """
    head, *trees = text.split("\nTree=")
    width = int(_fields(head)["max_feature_idx"]) + 1
    gain, knows_missing = [0.0] * width, [False] * width
    for block in trees:
        facts = _fields(block)
        splits = zip(
            facts.get("split_feature", "").split(),
            facts.get("split_gain", "").split(),
            facts.get("decision_type", "").split(),
            strict=True,
        )
        for feature, value, decision in splits:
            gain[int(feature)] += float(value)
            kind = int(decision)
            knows_missing[int(feature)] |= (kind >> 2) & 3 == _MISSING_NAN or bool(kind & _CATEGORICAL)
    return {"gain": gain, "knows_missing": knows_missing}


def _fields(block: str) -> dict[str, str]:
    lines = block.split("\n\n", 1)[0].split("\n")
    return dict(line.split("=", 1) for line in lines if "=" in line)
