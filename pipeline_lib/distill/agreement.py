"""Do the cheap contributions tell the same story as TreeSHAP? Measured once per model, on rows it was not grown on.

Serving credits every split on a row's path with the change of node value it made; TreeSHAP averages over all orders of
the features and costs ten times as much. A row's path ends in one leaf per tree, so its contributions are a sum over
leaves. Source: serving.md 9.1; Lundberg et al., "Consistent individualized feature attribution", 2018.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from pipeline_lib.distill.metrics import Reals

ROWS, TOP = 1000, 5
"""Rows that are compared, over all outputs together; features of a row that are."""


def agreement(text: str, x: NDArray[np.float32]) -> dict[str, Any]:
    """How far path contributions and TreeSHAP agree on ``x`` (n, d).

    Returns:
        ``top5_overlap``: mean share of the five largest that both have. ``sign_agreement``: share of the path's five
        largest that TreeSHAP gives the same sign. Both over ``rows`` x outputs.
    """
    booster = lgb.Booster(model_str=text)
    outputs = booster.num_model_per_iteration()
    rows = x[:: max(1, -(-len(x) * outputs // ROWS))]
    path, shap = _path(booster, rows, outputs), _shap(booster, rows, outputs)
    ours, theirs = _largest(path), _largest(shap)
    overlap = (ours[:, :, None] == theirs[:, None, :]).any(axis=2)
    signs = np.sign(np.take_along_axis(path, ours, 1)) == np.sign(np.take_along_axis(shap, ours, 1))
    return {"rows": len(rows), "top5_overlap": float(overlap.mean()), "sign_agreement": float(signs.mean())}


def _largest(values: Reals) -> NDArray[np.intp]:
    return np.argsort(-np.abs(values), axis=1, kind="stable")[:, :TOP]


def _shap(booster: lgb.Booster, rows: NDArray[np.float32], outputs: int) -> Reals:
    found = np.asarray(booster.predict(rows, pred_contrib=True, num_threads=1), dtype=np.float64)
    return found.reshape(len(rows) * outputs, -1)[:, :-1]


def _path(booster: lgb.Booster, rows: NDArray[np.float32], outputs: int) -> Reals:
    leaves = np.asarray(booster.predict(rows, pred_leaf=True, num_threads=1), dtype=np.intp).reshape(len(rows), -1)
    found = np.zeros((len(rows), outputs, booster.num_feature()))
    for i, tree in enumerate(booster.dump_model()["tree_info"]):
        credit = np.zeros((int(tree["num_leaves"]), booster.num_feature()))
        _credit(tree["tree_structure"], credit, {})
        found[:, i % outputs] += credit[leaves[:, i]]
    return found.reshape(len(rows) * outputs, -1)


def _credit(node: Mapping[str, Any], credit: Reals, so_far: Mapping[int, float]) -> None:
    """Fill in, per leaf, the changes of node value on its path by the feature that made them."""
    if "split_feature" not in node:
        for feature, change in so_far.items():
            credit[int(node.get("leaf_index", 0)), feature] = change
        return
    feature, here = int(node["split_feature"]), float(node["internal_value"])
    for child in (node["left_child"], node["right_child"]):
        there = float(child["internal_value"] if "split_feature" in child else child["leaf_value"])
        _credit(child, credit, {**so_far, feature: so_far.get(feature, 0.0) + there - here})
