"""The safety gate on every delivered text: five criteria, their verdicts recorded even when all pass.

The rule parts, for templates and for what a model wrote alike; the verdict is the worst. What a text may mention is
what the answer rests on (product, phrase, facts): that is taken out first, and no list may hit the rest.
Source: serving.md 9.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CRITERIA = ("regulatory", "suitability", "hallucination", "tone", "factuality")
UNGRADED = 5
"""A product without a risk grade is worded as one of the highest."""
_PERSONAL = (
    re.compile(r"\d{6}\s*-\s*[1-8]\d{6}"),  # resident registration number
    re.compile(r"(?:\d[ -]?){15,16}"),  # card
    re.compile(r"01[016789][ .-]?\d{3,4}[ .-]?\d{4}"),  # mobile phone
    re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+"),  # e-mail
    re.compile(r"\b\d{3}-\d{2}-\d{4}\b"),  # social security number
)
_PERCENT = re.compile(r"\d+(?:[.,]\d+)?\s*(?:%|퍼센트|프로\b|per\s?cent|percent)", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
INJECTION = re.compile(
    r"ignore (?:all|any|the|previous|prior)|disregard (?:all|the|previous)|system prompt|you are now|as an ai\b|<\w+"
    r"|\{\{|\]\]|```|(?:이전|위의|앞의) (?:지시|명령)|시스템 프롬프트|지시를 무시",
    re.IGNORECASE,
)
_COLUMN = re.compile(r"\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b")
_SENTENCE = re.compile(r"[^.!?。]+[.!?。]*")
_HONORIFIC = ("니다.", "니다", "십시오.", "세요.")


@dataclass(frozen=True)
class Evidence:
    """What a text may mention: the words its answer rests on, and the grade of the product it is about."""

    product: str
    known: tuple[str, ...]
    """Product, phrase, link and facts, in the text's locale."""
    notice: str
    locale: str
    suitable: bool
    risk_grade: int | None = None


@dataclass(frozen=True)
class Finding:
    criterion: str
    passed: bool
    hits: tuple[str, ...] = ()
    score: float | None = None
    """A model's, where one was asked and could be read; None: the rule part's, 1 or 0."""
    threshold: float = 1.0


class Gate:
    """The rule parts of one package's policy, compiled once."""

    def __init__(self, policy: Mapping[str, Any]) -> None:
        self._restricted = _any_of(policy["restricted"])
        self._urgent, self._person, self._terms = (_any_of(policy[name]) for name in ("urgent", "personal", "terms"))
        self._assured = {int(grade): _any_of(words) for grade, words in policy["assured"].items()}
        self._vocabulary = {
            locale: _any_of(
                [names[locale] for names in policy["product_names"].values()]
                + [words[locale] for words in policy["phrases"].values()]
                + [words[locale] for words in policy["facts"]]
            )
            for locale in policy["ai_notice"]
        }

    def check(self, text: str, evidence: Evidence) -> tuple[Finding, ...]:
        """One finding per criterion, in order."""
        sentence = text.replace(evidence.notice, "").strip()
        rest = _without(sentence, evidence.known)
        hits = {
            "regulatory": self._regulatory(text, sentence, rest, evidence),
            "suitability": self._suitability(rest, evidence),
            "hallucination": self._unfounded(sentence, rest, evidence),
            "tone": self._tone(sentence, rest, evidence),
            "factuality": self._factuality(sentence, rest, evidence),
        }
        return tuple(Finding(name, not hits[name], tuple(hits[name])) for name in CRITERIA)

    def _regulatory(self, text: str, sentence: str, rest: str, evidence: Evidence) -> list[str]:
        hits = _found(self._restricted, rest) + _found(self._person, rest)
        hits += ["personal_data" for pattern in _PERSONAL if pattern.search(text)]
        hits += ["rate" for _ in _PERCENT.finditer(sentence)]
        if INJECTION.search(text):
            hits.append("injection")
        if text.count(evidence.notice) != 1:
            hits.append("ai_notice")
        return hits

    def _suitability(self, rest: str, evidence: Evidence) -> list[str]:
        grade = UNGRADED if evidence.risk_grade is None else evidence.risk_grade
        hits = [hit for limit, words in self._assured.items() if grade >= limit for hit in _found(words, rest)]
        return hits if evidence.suitable else ["unsuitable", *hits]

    def _unfounded(self, sentence: str, rest: str, evidence: Evidence) -> list[str]:
        """Numbers, products, features and columns that the evidence does not have."""
        numbers = set(_NUMBER.findall(" ".join(evidence.known)))
        hits = [number for number in _NUMBER.findall(sentence) if number not in numbers]
        return hits + _found(self._vocabulary[evidence.locale], rest) + ["column" for _ in _COLUMN.finditer(rest)]

    def _tone(self, sentence: str, rest: str, evidence: Evidence) -> list[str]:
        hits = _found(self._urgent, rest)
        if evidence.locale == "ko" and not all(_polite(part) for part in _SENTENCE.findall(sentence) if part.strip()):
            hits.append("not_honorific")
        return hits

    def _factuality(self, sentence: str, rest: str, evidence: Evidence) -> list[str]:
        return _found(self._terms, rest) + ([] if evidence.product in sentence else ["product_name"])


def verdict(findings: Sequence[Finding]) -> str:
    """``block`` when any criterion fails: a text cannot be repaired at request time."""
    return "pass" if all(finding.passed for finding in findings) else "block"


def worst(findings: Iterable[Sequence[Finding]]) -> tuple[Finding, ...]:
    """Per criterion the first finding that failed, over all texts."""
    return tuple(next((f for f in column if not f.passed), column[0]) for column in zip(*findings, strict=True))


def _polite(sentence: str) -> bool:
    return sentence.strip().endswith(_HONORIFIC)


def _without(sentence: str, known: Sequence[str]) -> str:
    for words in sorted((words for words in known if words), key=len, reverse=True):
        sentence = sentence.replace(words, " ")
    return sentence


def _any_of(words: Sequence[str]) -> re.Pattern[str]:
    """Whole words in Latin letters; in Hangul wherever they stand, and however they are spaced."""
    return re.compile("|".join(sorted(map(_pattern, words), key=len, reverse=True)) or r"(?!)", re.IGNORECASE)


def _pattern(words: str) -> str:
    if any("가" <= letter <= "힣" for letter in words):
        return r"\s*".join(re.escape(letter) for letter in words if not letter.isspace())
    parts = r"\s+".join(re.escape(part) for part in words.split())
    return rf"\b{parts}\b" if words[0].isalnum() and words[-1].isalnum() else parts


def _found(pattern: re.Pattern[str], text: str) -> list[str]:
    return [match.group() for match in pattern.finditer(text)]
