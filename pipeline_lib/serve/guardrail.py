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
    """A model's, where one was asked; None: the rule part's, 1 or 0."""
    threshold: float = 1.0


class Text:
    """A text as the lists see it: its Hangul without spaces, its words between single spaces."""

    __slots__ = ("closed", "spaced", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.closed = "".join(text.split())
        self.spaced = f" {_spaced(text)} "


class Words:
    """A list of words and phrases: whole words in Latin letters; in Hangul wherever they stand, however spaced."""

    def __init__(self, words: Sequence[str]) -> None:
        hangul = {word for word in words if any("가" <= letter <= "힣" for letter in word)}
        self._closed = tuple((word, "".join(word.split())) for word in sorted(hangul))
        others = [(word, _spaced(word)) for word in sorted(set(words) - hangul)]
        self._spaced = tuple((word, f" {form} ") for word, form in others if form)
        self._signs = tuple(word for word, form in others if not form)

    def found(self, text: Text) -> list[str]:
        """Those that the text has."""
        hits = [word for word, form in self._closed if form in text.closed]
        hits += [word for word, form in self._spaced if form in text.spaced]
        return hits + [word for word in self._signs if word in text.text]


class Gate:
    """The rule parts of one package's policy."""

    def __init__(self, policy: Mapping[str, Any]) -> None:
        lists = ("restricted", "urgent", "personal", "terms")
        self._restricted, self._urgent, self._person, self._terms = (Words(policy[name]) for name in lists)
        self._assured = {int(grade): Words(words) for grade, words in policy["assured"].items()}
        tables = (policy["product_names"].values(), policy["phrases"].values(), policy["facts"])
        self._vocabulary = {
            locale: Words([words[locale] for table in tables for words in table]) for locale in policy["ai_notice"]
        }

    def check(self, text: str, evidence: Evidence) -> tuple[Finding, ...]:
        """One finding per criterion, in order."""
        sentence = text.replace(evidence.notice, "").strip()
        rest = Text(_without(sentence, evidence.known))
        hits = {
            "regulatory": self._regulatory(text, sentence, rest, evidence),
            "suitability": self._suitability(rest, evidence),
            "hallucination": self._unfounded(sentence, rest, evidence),
            "tone": self._tone(sentence, rest, evidence),
            "factuality": self._factuality(sentence, rest, evidence),
        }
        return tuple(Finding(name, not hits[name], tuple(hits[name])) for name in CRITERIA)

    def _regulatory(self, text: str, sentence: str, rest: Text, evidence: Evidence) -> list[str]:
        hits = self._restricted.found(rest) + self._person.found(rest)
        hits += ["personal_data" for pattern in _PERSONAL if pattern.search(text)]
        hits += ["rate" for _ in _PERCENT.finditer(sentence)]
        if INJECTION.search(text):
            hits.append("injection")
        if text.count(evidence.notice) != 1:
            hits.append("ai_notice")
        return hits

    def _suitability(self, rest: Text, evidence: Evidence) -> list[str]:
        grade = UNGRADED if evidence.risk_grade is None else evidence.risk_grade
        hits = [hit for limit, words in self._assured.items() if grade >= limit for hit in words.found(rest)]
        return hits if evidence.suitable else ["unsuitable", *hits]

    def _unfounded(self, sentence: str, rest: Text, evidence: Evidence) -> list[str]:
        """Numbers, products, features and columns that the evidence does not have."""
        numbers = set(_NUMBER.findall(" ".join(evidence.known)))
        hits = [number for number in _NUMBER.findall(sentence) if number not in numbers]
        return hits + self._vocabulary[evidence.locale].found(rest) + ["column" for _ in _COLUMN.finditer(rest.text)]

    def _tone(self, sentence: str, rest: Text, evidence: Evidence) -> list[str]:
        hits = self._urgent.found(rest)
        if evidence.locale == "ko" and not all(_polite(part) for part in _SENTENCE.findall(sentence) if part.strip()):
            hits.append("not_honorific")
        return hits

    def _factuality(self, sentence: str, rest: Text, evidence: Evidence) -> list[str]:
        return self._terms.found(rest) + ([] if evidence.product.lower() in sentence.lower() else ["product_name"])


def verdict(findings: Sequence[Finding]) -> str:
    """``block`` when any criterion fails: a text cannot be repaired at request time."""
    return "pass" if all(finding.passed for finding in findings) else "block"


def worst(findings: Iterable[Sequence[Finding]]) -> tuple[Finding, ...]:
    """Per criterion the first finding that failed, over all texts."""
    return tuple(next((f for f in column if not f.passed), column[0]) for column in zip(*findings, strict=True))


def _polite(sentence: str) -> bool:
    return sentence.strip().endswith(_HONORIFIC)


def _without(sentence: str, known: Sequence[str]) -> str:
    """The sentence, in small letters, less what it may mention."""
    rest = sentence.lower()
    for words in sorted((words.lower() for words in known if words), key=len, reverse=True):
        rest = rest.replace(words, " ")
    return rest


def _spaced(text: str) -> str:
    return " ".join("".join(letter if letter.isalnum() else " " for letter in text.lower()).split())
