"""Leaks that show in the features, each planted into a clean TrainingFrame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline_lib.contracts.leakage import TrainingFrame
from pipeline_lib.contracts.leakage.text import Verdict
from pipeline_lib.features.columns import Column
from pipeline_lib.features.normalise import Moments, Scaling, normalise, scalings

BINARY, CLASSES, REGRESSION = "will_acquire_accounts", "nba_primary", "cross_sell_count"
SEGMENT = "segment_prediction"
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FramePlant:
    """``statistic`` is the one the check must name."""

    name: str
    check: str
    statistic: str
    plant: Callable[[TrainingFrame], TrainingFrame]
    verdict: Verdict = "FAIL"


def with_feature(
    frame: TrainingFrame, name: str, values: Vector, lineage: Sequence[str] = ("transaction_event.amount",)
) -> TrainingFrame:
    """The frame with one more column, scaled as an honest column would be."""
    raw = np.hstack([frame.raw, values.astype(np.float32)[:, None]])
    entry = {"name": name, "group": "planted", "kind": "num", "lineage": list(lineage)}
    columns = [*frame.schema["columns"], {**entry, "mean": 0.0, "std": 1.0, "fill": 0.0}]
    grown = replace(frame, raw=raw, schema={**frame.schema, "columns": columns})
    return rescaled(grown, grown.rows_of("train"))


def rescaled(frame: TrainingFrame, rows: npt.NDArray[np.int64]) -> TrainingFrame:
    """The frame with its scaler fitted on the given rows."""
    columns = [
        (c["group"], Column(c["name"], c["kind"], tuple(c["lineage"]), fill=c["fill"])) for c in frame.schema["columns"]
    ]
    scaling = scalings(Moments.of(frame.raw[rows]), columns, frame.min_std)
    scaled = normalise(frame.raw, [column for _, column in columns], scaling, frame.clip_z)
    return replace(frame, scaled=scaled, schema=_with_scalings(frame.schema, scaling))


def label(frame: TrainingFrame, name: str) -> Vector:
    """A label as the planted column would hold it: 0 where it is masked."""
    return frame.labels[name].cast(pl.Float64).fill_null(0.0).to_numpy()


def feature(frame: TrainingFrame, name: str) -> Vector:
    return np.nan_to_num(frame.raw[:, frame.features.index(name)].astype(np.float64))


def relabelled(frame: TrainingFrame, name: str, values: Vector) -> TrainingFrame:
    """The frame with a label replaced where it is not masked."""
    old = frame.labels[name]
    new = pl.Series(name, values).set(old.is_null(), None)
    return replace(frame, labels=frame.labels.with_columns(new))


def label_by_name(frame: TrainingFrame) -> TrainingFrame:
    return with_feature(frame, "has_nba_1", _noise(frame))


def label_copy(frame: TrainingFrame) -> TrainingFrame:
    return with_feature(frame, "engagement_index", label(frame, BINARY))


def retired_label_copy(frame: TrainingFrame) -> TrainingFrame:
    return with_feature(frame, "bought_lately", (label(frame, CLASSES) > 0).astype(np.float64))


def scaled_label(frame: TrainingFrame) -> TrainingFrame:
    """The regression label in other units with some noise."""
    return with_feature(frame, "spend_outlook", 3 * label(frame, REGRESSION) + 0.05 * _noise(frame) + 7)


def ranked_label(frame: TrainingFrame) -> TrainingFrame:
    """A score that ranks the buyers first, far from linear."""
    return with_feature(frame, "propensity_rank", np.exp(6 * label(frame, BINARY) + _noise(frame)))


def coded_label(frame: TrainingFrame) -> TrainingFrame:
    """The class under other numbers."""
    codes = np.array([5.0, 1.0, 9.0, 3.0, 7.0, 0.0, 2.0])
    return with_feature(frame, "family_code", codes[label(frame, CLASSES).astype(np.int64)])


def derived_class(frame: TrainingFrame) -> TrainingFrame:
    """A label that two inputs decide: no single column gives it away."""
    old = (feature(frame, "age") > 50) & (feature(frame, "is_active") == 1)
    return relabelled(frame, BINARY, old.astype(np.float64))


def derived_score(frame: TrainingFrame) -> TrainingFrame:
    """The retired engagement score: a weighted sum of inputs. Source: data.md 6.3."""
    parts = (("is_active", 0.3), ("frequency", 0.4), ("num_products", 0.03))
    score: Vector = np.sum([weight * feature(frame, name) for name, weight in parts], axis=0)
    return relabelled(frame, REGRESSION, score)


def bucket_of_income(frame: TrainingFrame) -> TrainingFrame:
    """The retired income tier, as a task again."""
    income = feature(frame, "income")
    return relabelled(frame, CLASSES, np.searchsorted(np.quantile(income, [0.3, 0.55, 0.8]), income).astype(np.float64))


def segment_proxy(frame: TrainingFrame) -> TrainingFrame:
    return with_feature(frame, "tariff", 10 - 3 * label(frame, SEGMENT))


def segment_descendant(frame: TrainingFrame) -> TrainingFrame:
    return with_feature(frame, "cluster_income", _noise(frame), ["customer_segment.segment"])


def label_list_multihot(frame: TrainingFrame) -> TrainingFrame:
    return with_feature(frame, "rec_multihot_01", _noise(frame), ["label_table.nba_primary"])


def written_after_the_fact(frame: TrainingFrame) -> TrainingFrame:
    return with_feature(frame, "months_primary", _noise(frame), ["customer_snapshot.primary_until"])


def label_table_opened(frame: TrainingFrame) -> TrainingFrame:
    return replace(frame, opened=(*frame.opened, "labels/label_table.parquet"))


def scaler_on_all_rows(frame: TrainingFrame) -> TrainingFrame:
    return rescaled(frame, np.arange(len(frame.raw)))


def other_scaler_applied(frame: TrainingFrame) -> TrainingFrame:
    """The stored parameters are right; x_norm was made with others."""
    return replace(frame, scaled=rescaled(frame, np.arange(len(frame.raw))).scaled)


def customer_key_as_feature(frame: TrainingFrame) -> TrainingFrame:
    return with_feature(frame, "loyalty", frame.keys["customer_key"].to_numpy() / 1000)


def row_number_as_feature(frame: TrainingFrame) -> TrainingFrame:
    return with_feature(frame, "load_position", np.arange(len(frame.raw), dtype=np.float64) / 7)


def zeroed_group(frame: TrainingFrame) -> TrainingFrame:
    """A generator failed and zeros took the place of what it measures; its flags go on."""
    raw = frame.raw.copy()
    raw[:, frame.measured(next(g for g in frame.schema["groups"] if g["name"] == "txn_behavior"))] = 0.0
    emptied = replace(frame, raw=raw)
    return rescaled(emptied, emptied.rows_of("train"))


def nan_after_scaling(frame: TrainingFrame) -> TrainingFrame:
    scaled = frame.scaled.copy()
    scaled[::50, frame.features.index("avg_amount")] = np.nan
    return replace(frame, scaled=scaled)


def train_rows_in_test(frame: TrainingFrame) -> TrainingFrame:
    """One source person became several customers: his rows lie on both sides."""
    raw, test, train = frame.raw.copy(), frame.rows_of("test"), frame.rows_of("train")
    raw[test[::4]] = raw[train[: len(test[::4])]]
    copied = replace(frame, raw=raw)
    return rescaled(copied, train)


def step_after_cutoff(frame: TrainingFrame) -> TrainingFrame:
    gap = frame.asof_gap.copy()
    gap[::20] = -3.0
    return replace(frame, asof_gap=gap)


def side_in_a_feature(frame: TrainingFrame) -> TrainingFrame:
    """The order of the input files, which is the split, reached a feature."""
    test = (frame.keys["split"] == "test").to_numpy()
    return with_feature(frame, "batch_effect", test + _noise(frame))


def _noise(frame: TrainingFrame) -> Vector:
    return np.random.default_rng(3).normal(size=len(frame.raw))


def _with_scalings(schema: Mapping[str, Any], scalings: Sequence[Scaling]) -> dict[str, Any]:
    pairs = zip(schema["columns"], scalings, strict=True)
    return {**schema, "columns": [{**c, "mean": s.mean, "std": s.std, "fill": s.fill} for c, s in pairs]}


FRAME_PLANTS = (
    FramePlant("column named has_nba_1", "L01", "name", label_by_name),
    FramePlant("copy of a label", "L01", "share of equal values", label_copy),
    FramePlant("copy of the retired has_nba", "L01", "share of equal values", retired_label_copy),
    FramePlant("label in other units", "L10", "|Pearson|", scaled_label),
    FramePlant("score that ranks the buyers first", "L11", "single-feature AUC", ranked_label),
    FramePlant("class under other numbers", "L05", "I(x; y) / H(y)", coded_label),
    FramePlant("label that is a cut of one column", "L05", "agreement of neighbours", bucket_of_income),
    FramePlant("label decided by two inputs", "L05", "tree AUC", derived_class),
    FramePlant("label that is a weighted sum", "L05", "least squares R2", derived_score),
    FramePlant("proxy of the segment", "L29", "I(x; y) / H(y)", segment_proxy),
    FramePlant("descendant of the segment", "L29", "lineage", segment_descendant),
    FramePlant("multi-hot of the label list", "L25", "lineage", label_list_multihot),
    FramePlant("attribute written after the fact", "L17", "lineage", written_after_the_fact),
    FramePlant("generator reads the labels", "L04", "opened by features", label_table_opened),
    FramePlant("scaler fitted on all rows", "L08", "relative difference of mean", scaler_on_all_rows),
    FramePlant("another scaler applied", "L08", "largest difference in x_norm", other_scaler_applied),
    FramePlant("customer key as a feature", "L14", "|Spearman| with customer_key", customer_key_as_feature),
    FramePlant("row number as a feature", "L14", "|Spearman| with row number", row_number_as_feature),
    FramePlant("zeros in place of a failed group", "L13", "AUC of the group", zeroed_group),
    FramePlant("NaN after scaling", "L13", "values not finite", nan_after_scaling),
    FramePlant("train rows repeated in test", "L15", "share of repeated rows", train_rows_in_test),
    FramePlant("sequence beyond the cutoff", "L06", "smallest days to the cutoff", step_after_cutoff),
    FramePlant("file order in a feature", "L02", "adversarial AUC", side_in_a_feature),
)
