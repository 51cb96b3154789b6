"""What serving needs to know of a model beside its trees: gain per input, and which inputs it saw missing.

Read from LightGBM's text format, so that packaging needs no LightGBM.
"""

from __future__ import annotations

from typing import Any

from pipeline_lib.errors import ContractError

_MISSING_NAN = 2


def inputs(text: str, where: str) -> dict[str, Any]:
    """{gain: total per feature, knows_missing: whether its splits have a branch for NaN}, in feature order.

    Raises:
        ContractError: categorical splits or linear leaves, which serving cannot explain.
    """
    head, *trees = text.split("\nTree=")
    width = int(_fields(head)["max_feature_idx"]) + 1
    gain, knows_missing = [0.0] * width, [False] * width
    for block in trees:
        facts = _fields(block)
        if facts["num_cat"] != "0" or facts.get("is_linear", "0") != "0":
            raise ContractError(f"{where}: a tree has categorical splits or linear leaves")
        splits = zip(
            facts.get("split_feature", "").split(),
            facts.get("split_gain", "").split(),
            facts.get("decision_type", "").split(),
            strict=True,
        )
        for feature, value, decision in splits:
            gain[int(feature)] += float(value)
            knows_missing[int(feature)] |= (int(decision) >> 2) & 3 == _MISSING_NAN
    return {"gain": gain, "knows_missing": knows_missing}


def _fields(block: str) -> dict[str, str]:
    lines = block.split("\n\n", 1)[0].split("\n")
    return dict(line.split("=", 1) for line in lines if "=" in line)
