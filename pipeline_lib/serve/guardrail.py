"""The safety gate on every delivered text: five criteria, their verdicts recorded even when all pass.

Only the rule parts: templates are written by people, and no model writes text here. The verdict is the worst.
Source: serving.md 9.3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CRITERIA = ("regulatory", "suitability", "hallucination", "tone", "factuality")
_PERSONAL = (
    re.compile(r"\d{6}-[1-8]\d{6}"),  # resident registration number
    re.compile(r"(?:\d[ -]?){15,16}"),  # card
    re.compile(r"01[016789][ -]?\d{3,4}[ -]?\d{4}"),  # mobile phone
    re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+"),  # e-mail
    re.compile(r"\b\d{3}-\d{2}-\d{4}\b"),  # social security number
)
_PERCENT = re.compile(r"\d+(?:\.\d+)?\s*%")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_INJECTION = re.compile(r"ignore (?:all|previous)|system prompt|<script|\{\{", re.IGNORECASE)
_HONORIFIC = ("니다.", "바랍니다.", "습니다.")


@dataclass(frozen=True)
class Evidence:
    """What a text may mention."""

    product: str
    phrase: str
    notice: str
    locale: str
    suitable: bool


@dataclass(frozen=True)
class Finding:
    criterion: str
    passed: bool
    hits: tuple[str, ...] = ()


def check(text: str, evidence: Evidence, policy: Mapping[str, Any]) -> tuple[Finding, ...]:
    """One finding per criterion, in order."""
    sentence = text.replace(evidence.notice, "")
    hits = {
        "regulatory": _regulatory(text, sentence, evidence, policy["restricted"]),
        "suitability": () if evidence.suitable else ("unsuitable",),
        "hallucination": _unfounded(sentence, evidence),
        "tone": _tone(sentence, evidence, policy["urgent"]),
        "factuality": () if evidence.product in sentence else ("product_name",),
    }
    return tuple(Finding(name, not hits[name], tuple(hits[name])) for name in CRITERIA)


def verdict(findings: Sequence[Finding]) -> str:
    """``block`` when any criterion fails: a template cannot be repaired at request time."""
    return "pass" if all(finding.passed for finding in findings) else "block"


def _regulatory(text: str, sentence: str, evidence: Evidence, restricted: Sequence[str]) -> tuple[str, ...]:
    hits = [word for word in restricted if word.lower() in sentence.lower()]
    hits += ["personal_data" for pattern in _PERSONAL if pattern.search(text)]
    hits += ["rate" for _ in _PERCENT.finditer(sentence)]
    if _INJECTION.search(text):
        hits.append("injection")
    if text.count(evidence.notice) != 1:
        hits.append("ai_notice")
    return tuple(hits)


def _unfounded(sentence: str, evidence: Evidence) -> tuple[str, ...]:
    """Numbers of the text that occur nowhere in the evidence."""
    known = set(_NUMBER.findall(f"{evidence.product} {evidence.phrase}"))
    return tuple(number for number in _NUMBER.findall(sentence) if number not in known)


def _tone(sentence: str, evidence: Evidence, urgent: Sequence[str]) -> tuple[str, ...]:
    hits = [word for word in urgent if word.lower() in sentence.lower()]
    if evidence.locale == "ko" and not sentence.strip().endswith(_HONORIFIC):
        hits.append("not_honorific")
    return tuple(hits)
