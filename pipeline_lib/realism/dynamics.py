"""How two banks move: rates of products, memory of holdings and spend, waiting times, category chains."""

from __future__ import annotations

import numpy as np
from scipy import stats

from pipeline_lib.realism.panel import Bools, Floats, Panel
from pipeline_lib.realism.rows import Row, judged, unknown
from pipeline_lib.settings.realism import Realism

HOLDING_LAGS, SPEND_LAGS = (1, 3, 6), (1, 2, 3)
MIN_MONTHS = 8
HAZARD_BINS = (1, 2, 3, 6, 9, 12)
SMOOTHING = 0.5


def dynamics(a: Panel, b: Panel, policy: Realism) -> list[Row]:
    subject = f"{a.name} / {b.name}"
    rows = _rates(a, b, subject, policy) + _memory(a, b, subject, policy)
    rows.append(_hazard(a, b, subject, policy))
    if len(a.gaps) and len(b.gaps):
        distance = float(stats.ks_2samp(a.gaps, b.gaps, method="asymp").statistic)
        rows.append(judged("time", "inter-event gaps, KS", subject, distance, policy.limits["gap_ks"]))
    else:
        rows.append(unknown("time", "inter-event gaps, KS", subject, "a bank has no event"))
    return [*rows, _bigrams(a, b, subject, policy)]


def _rates(a: Panel, b: Panel, subject: str, policy: Realism) -> list[Row]:
    """Relative errors of prevalence, add and drop rates of the products with enough moves in both banks."""
    shared = [name for name in a.products if name in b.products]
    if not shared:
        return [unknown("time", "product rates", subject, "the banks share no product")]
    rates = [_product_rates(panel, shared) for panel in (a, b)]
    enough = (np.minimum(rates[0]["moves"], rates[1]["moves"]) >= policy.min_events).any(axis=0)
    rows = []
    for what in ("prevalence", "add", "drop"):
        x, y = rates[0][what][enough], rates[1][what][enough]
        known = y > 0
        if not known.any():
            rows.append(unknown("time", f"{what} rate", subject, f"no product with {policy.min_events} moves in both"))
            continue
        error = np.abs(x[known] - y[known]) / y[known]
        names = np.array(shared)[enough][known]
        note = f"{len(names)} products; largest: {names[error.argmax()]}"
        limit = policy.limits["rate_error"]
        rows.append(
            judged("time", f"{what} rate, largest relative error", subject, float(error.max()), limit, note=note)
        )
    return rows


def _product_rates(panel: Panel, products: list[str]) -> dict[str, Floats]:
    held = panel.held[:, :, [panel.products.index(name) for name in products]]
    both = (panel.present[:, 1:] & panel.present[:, :-1])[:, :, None]
    before, after = held[:, :-1], held[:, 1:]
    adds, drops = (~before & after & both).sum(axis=(0, 1)), (before & ~after & both).sum(axis=(0, 1))
    could_add, could_drop = (~before & both).sum(axis=(0, 1)), (before & both).sum(axis=(0, 1))
    return {
        "prevalence": held.sum(axis=(0, 1)) / max(int(panel.present.sum()), 1),
        "add": adds / np.maximum(could_add, 1),
        "drop": drops / np.maximum(could_drop, 1),
        "moves": np.stack([adds, drops]).astype(np.float64),
    }


def _memory(a: Panel, b: Panel, subject: str, policy: Realism) -> list[Row]:
    rows = []
    series = {"num_products": (a.num_products, b.num_products, HOLDING_LAGS)}
    series["ln monthly spend"] = (a.log_spend, b.log_spend, SPEND_LAGS)
    for what, (x, y, lags) in series.items():
        for lag in lags:
            r = [autocorrelation(values, lag) for values in (x, y)]
            name = f"autocorrelation of {what}, lag {lag}"
            if any(value is None for value in r):
                rows.append(unknown("time", name, subject, f"fewer than {MIN_MONTHS} months in a row"))
                continue
            note = f"{r[0]:.3f} against {r[1]:.3f}"
            limit = policy.limits["autocorrelation"]
            rows.append(judged("time", name, subject, abs(float(r[0]) - float(r[1])), limit, note=note))  # type: ignore[arg-type]
    return rows


def autocorrelation(values: Floats, lag: int) -> float | None:
    """Mean over customers of the lag's autocorrelation, corrected for short series; None without any customer.

    Args:
        values: [N, M], NaN = not known; customers need ``MIN_MONTHS`` months without a hole and some movement.

    Source: the estimate's bias is about -(1 + 3 r) / n, solved for r (Marriott and Pope, 1954); data.md 9.
    """
    whole = values[np.isfinite(values).all(axis=1)]
    if not len(whole):
        newest = values[:, -MIN_MONTHS:]
        whole = newest[np.isfinite(newest).all(axis=1)]
    if not len(whole) or whole.shape[1] < MIN_MONTHS:
        return None
    centred = whole - whole.mean(axis=1, keepdims=True)
    variance = (centred**2).sum(axis=1)
    moving = variance > 0
    if not moving.any():
        return None
    r = (centred[moving, lag:] * centred[moving, : centred.shape[1] - lag]).sum(axis=1) / variance[moving]
    mean = float(r.mean())
    return float(np.clip((mean + 1 / whole.shape[1]) / (1 - 3 / whole.shape[1]), -1.0, 1.0))


def _hazard(a: Panel, b: Panel, subject: str, policy: Realism) -> Row:
    """Largest difference of the chance to add something by months since the last addition."""
    if not a.products or not b.products:
        return unknown("time", "hazard of adding", subject, "a bank has no product")
    x, y = (hazard_of(panel) for panel in (a, b))
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        return unknown("time", "hazard of adding", subject, "no customer adds twice")
    return judged(
        "time",
        "hazard of adding, largest difference",
        subject,
        float(np.abs(x - y)[known].max()),
        policy.limits["hazard"],
    )


def hazard_of(panel: Panel) -> Floats:
    """Chance of an addition in a month, by months since the last one in ``HAZARD_BINS`` [B]; NaN = too few."""
    both = panel.present[:, 1:] & panel.present[:, :-1]
    added: Bools = (~panel.held[:, :-1] & panel.held[:, 1:]).any(axis=2) & both
    since = np.full(len(panel.customers), -1)
    exposed, happened = np.zeros(len(HAZARD_BINS)), np.zeros(len(HAZARD_BINS))
    for month in range(added.shape[1]):
        at = both[:, month] & (since > 0)
        place = np.searchsorted(HAZARD_BINS, since[at], side="left").clip(max=len(HAZARD_BINS) - 1)
        exposed += np.bincount(place, minlength=len(HAZARD_BINS))
        happened += np.bincount(place, weights=added[at, month], minlength=len(HAZARD_BINS))
        since = np.where(added[:, month], 1, np.where(since > 0, since + 1, since))
    enough = exposed >= 100
    return np.where(enough, happened / np.maximum(exposed, 1), np.nan)


def _bigrams(a: Panel, b: Panel, subject: str, policy: Realism) -> Row:
    codes = sorted({c for pair in a.bigrams for c in pair} & {c for pair in b.bigrams for c in pair})
    if len(codes) < 2:
        return unknown("time", "category chains, KL", subject, "the banks share no categories")
    p, q = (_transition(panel, codes) for panel in (a, b))
    share = np.array([sum(n for (x, _), n in b.bigrams.items() if x == code) for code in codes], dtype=np.float64)
    divergence = float(((q * np.log(q / p)).sum(axis=1) * share).sum() / share.sum())
    return judged("time", "category chains, KL [nat]", subject, divergence, policy.limits["bigram_kl"])


def _transition(panel: Panel, codes: list[str]) -> Floats:
    place = {code: i for i, code in enumerate(codes)}
    counts = np.full((len(codes), len(codes)), SMOOTHING)
    for (x, y), n in panel.bigrams.items():
        if x in place and y in place:
            counts[place[x], place[y]] += n
    out: Floats = counts / counts.sum(axis=1, keepdims=True)
    return out
