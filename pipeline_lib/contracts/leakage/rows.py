"""The same rows on both sides, and features that tell the sides apart (L02, L15)."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
import polars as pl

from pipeline_lib.contracts.leakage.evidence import customer_folds, spread
from pipeline_lib.contracts.leakage.frames import Ints, TrainingFrame
from pipeline_lib.contracts.leakage.statistics import auc, auc_error, quantile_bins, ranks, without_nan
from pipeline_lib.contracts.leakage.text import finding, graded
from pipeline_lib.contracts.leakage.tree import tree_out_of_fold
from pipeline_lib.records import Finding
from pipeline_lib.settings.leakage import Leakage

ADVERSARIAL_DEPTH = 3
BLOCK_ROWS, BLOCK_COLUMNS = 16_384, 32


def keys_are_unique(frame: TrainingFrame, limits: Leakage) -> Iterator[Finding]:
    """L15: one feature row per customer and cutoff, and a customer on one side."""
    repeated = frame.keys.group_by("customer_key", "cutoff_date").len().filter(pl.col("len") > 1)
    if len(repeated):
        message = "feature rows with the same customer and cutoff"
        yield finding("L15", "customer_key, cutoff_date", "repeated keys", len(repeated), 0, message)


def rows_do_not_repeat(frame: TrainingFrame, limits: Leakage) -> Iterator[Finding]:
    """L15: share of val and test rows whose rounded features equal those of a train row [0..1]."""
    own = limits.rows
    known = set(_fingerprints(frame, "train", own.decimals, own.min_distinct))
    for split in ("val", "test"):
        repeated = [value in known for value in _fingerprints(frame, split, own.decimals, own.min_distinct)]
        if not repeated:
            continue
        share = sum(repeated) / len(repeated)
        if share > own.warn_share:
            limit, verdict = graded(share > own.fail_share, own.fail_share, own.warn_share)
            message = f"{split} rows that repeat a train row"
            yield finding("L15", split, "share of repeated rows", share, limit, message, verdict=verdict)


def sides_look_alike(frame: TrainingFrame, limits: Leakage) -> Iterator[Finding]:
    """L02: at one cutoff, features cannot tell train customers from test customers (cross-validated AUC)."""
    found = adversarial_auc(frame, limits)
    if found is None:
        return
    value, noise = found
    if value > limits.order.warn_auc and value - 0.5 > noise:
        failed = value > limits.order.fail_auc
        limit, verdict = graded(failed, limits.order.fail_auc, limits.order.warn_auc)
        message = "train customers and test customers at one cutoff differ"
        yield finding("L02", "split", "adversarial AUC", value, limit, message, verdict=verdict)


def adversarial_auc(frame: TrainingFrame, limits: Leakage) -> tuple[float, float] | None:
    """Cross-validated AUC of train against test customers at one cutoff, and how far chance moves it; None: too few."""
    seen, unseen = frame.rows_of("test_seen"), frame.rows_of("test")
    if min(len(seen), len(unseen)) < limits.min_rows:
        return None
    rows = np.sort(np.concatenate([spread(seen, limits.derived.tree_rows), unseen]))
    y = np.isin(rows, unseen).astype(np.float64)[:, None]
    binned = _binned(frame, rows, limits.derived.tree_bins)
    folds = customer_folds(frame, rows, limits.derived.folds)
    tree = tree_out_of_fold(binned, y, folds, ADVERSARIAL_DEPTH, limits.derived.tree_bins)
    noise = limits.noise_z * auc_error(int(y.sum()), int(len(y) - y.sum()))
    return float(auc(ranks(tree), y)[0, 0]), noise


def _binned(frame: TrainingFrame, rows: Ints, bins: int) -> Ints:
    """Bin numbers by rank [n, F], made a few columns at a time."""
    out = np.empty((len(rows), frame.raw.shape[1]), dtype=np.int64)
    for first in range(0, out.shape[1], BLOCK_COLUMNS):
        own = slice(first, first + BLOCK_COLUMNS)
        out[:, own] = quantile_bins(ranks(without_nan(frame.raw[:, own][rows])), bins)
    return out


def _fingerprints(frame: TrainingFrame, split: str, decimals: int, min_distinct: int) -> Iterator[bytes]:
    """A digest of the rounded values of every row of a split with enough distinct raw values to name one customer."""
    every = frame.rows_of(split)
    for first in range(0, len(every), BLOCK_ROWS):
        rows = every[first : first + BLOCK_ROWS]
        rounded = np.round(frame.scaled[rows], decimals) + np.float32(0.0)  # no negative zero
        ordered = np.sort(np.nan_to_num(frame.raw[rows], nan=-1.0), axis=1)
        distinct = 1 + (np.diff(ordered, axis=1) != 0).sum(axis=1)
        yield from (blake2b(row.tobytes(), digest_size=16).digest() for row in rounded[distinct >= min_distinct])
