"""The finding as a page of Markdown: verdict first, then what it rests on. What is not known is ``unknown``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MEANING = {
    "BETTER": "more of what the challenger would have shown would have been accepted",
    "WORSE": "less of what the challenger would have shown would have been accepted",
    "INCONCLUSIVE": "the interval holds 0: these answers do not tell the two apart",
    "INSUFFICIENT_SUPPORT": "too few answers show what the challenger would have shown",
    "UNSTABLE": "a few answers with large weights decide, and clipping them changes the answer",
    "UNAVAILABLE": "the question cannot be answered",
}


def text(body: Mapping[str, Any]) -> str:
    """``counterfactual.json`` for people."""
    return "\n".join([*_head(body), *_estimates(body), *_support(body), *_clipping(body), *_groups(body)]) + "\n"


def _head(body: Mapping[str, Any]) -> Iterator[str]:
    yield f"# Counterfactual: {body['verdict']}"
    yield ""
    yield f"{MEANING[body['verdict']]}. {body['reason']}."
    yield ""
    versions = body["versions"]
    yield f"Challenger {_shown(versions['challenger'])}, champion {_shown(versions['champion'])}."
    log, replay = body["log"], body["replay"]
    states = ", ".join(f"{count} {state}" for state, count in log["states"].items() if count)
    yield (
        f"Answers {log['window']['since'][:10]} to {log['window']['until'][:10]}: {log['answers']} "
        f"({states or 'none'}); "
        f"outcome known of {log['rewards_known']}, accepted {log['accepted']}; "
        f"replayed {replay.get('replayed', 0)} of {replay.get('asked', 0)}."
    )


def _estimates(body: Mapping[str, Any]) -> Iterator[str]:
    if not body["estimates"]:
        return
    yield from _title(
        f"Acceptance per recommendation (seed {body['seed']}, {body['n_bootstrap']} resamples of customers)"
    )
    rows = [
        [name + (" (decides)" if name == body["estimator"] else ""), *(_shown(values[k]) for k in
         ("champion", "challenger", "lift", "low", "high"))]
        for name, values in body["estimates"].items()
    ]  # fmt: skip
    yield from _table(["estimator", "champion", "challenger", "lift", "low", "high"], rows)


def _support(body: Mapping[str, Any]) -> Iterator[str]:
    if not body["support"]:
        return
    yield from _title("What the weights are worth")
    names = ("n", "ess", "ratio", "mean", "max_share", "clipped_mass", "outside", "silent")
    yield from _table(
        ["model", *names], [[side, *(_shown(s[k]) for k in names)] for side, s in body["support"].items()]
    )


def _clipping(body: Mapping[str, Any]) -> Iterator[str]:
    if not body["clipping"]:
        return
    yield from _title("The challenger's value by clip")
    names = ("clip", "clipped_mass", "ips", "snips", "dr")
    yield from _table(names, [[_shown(row[k]) for k in names] for row in body["clipping"]])


def _groups(body: Mapping[str, Any]) -> Iterator[str]:
    if not body["fairness"]:
        return
    yield from _title(f"Groups: the comparison furthest from equality ({body['breaches']} of all are breaches)")
    names = ("model", "about", "metric", "attribute", "group", "reference", "value", "low", "high", "ess", "state")
    yield from _table(names, [[_shown(row[k]) for k in names] for row in body["fairness"]])


def _title(words: str) -> Iterator[str]:
    yield from ("", f"## {words}", "")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    yield from ("| " + " | ".join(row) + " |" for row in rows)


def _shown(value: Any) -> str:
    if value is None:
        return "unknown"
    text = str(value)
    return text.rstrip("0").rstrip(".") if "." in text and text.replace(".", "").lstrip("-").isdigit() else text
