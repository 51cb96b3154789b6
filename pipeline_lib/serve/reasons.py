"""Why this item: which features moved the deciding score, and one sentence a customer understands.

The sentence is a template, chosen by hash, so the same customer reads the same words tomorrow. It names only
features with customer words (the ``explainable`` flag) that raised the score; never a protected attribute; never a
column name. Without such a feature it says how widely the product is used, or nothing but its name.
Source: serving.md 9.1 and 9.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pipeline_lib.serve.layers import TaskAnswer
from pipeline_lib.serve.suitability import Item

POPULARITY, MINIMUM = "popularity", "minimum_safe"
VARIANTS = 5
_SLOT = re.compile(r"\{(\w+)(?:\|([^}]*))?\}")
_HANGUL = range(0xAC00, 0xD7A4)
_CLOSED_DIGITS, _CLOSED_LETTERS = "013678", "lmnLMN"


@dataclass(frozen=True)
class Attribution:
    """Contributions to the raw score of one task; ``base_value`` plus all of them is ``raw``."""

    task: str
    method: str
    """student_contrib or rule."""
    base_value: float
    raw: float
    contributions: tuple[tuple[str, float], ...]
    """Feature -> contribution, largest magnitude first."""

    @property
    def residual(self) -> float:
        return self.raw - self.base_value - sum(value for _, value in self.contributions)


@dataclass(frozen=True)
class Reason:
    text: str
    template_id: str
    category: str
    feature: str | None


def attribute(answer: TaskAnswer, output: int = 0) -> Attribution:
    """Where the answer of one task comes from; ``output`` is the class of a multiclass task."""
    if answer.student is None or answer.prediction is None or answer.row is None:
        inputs = answer.rule.inputs if answer.rule else ()
        value = answer.values[output] if answer.values else 0.0
        return Attribution(answer.task, "rule", value, value, tuple((n, 0.0) for n in inputs))
    bias, values = answer.student.forest.contributions(answer.row, output)
    named = zip(answer.student.features, values, strict=True)
    ordered = sorted((pair for pair in named if pair[1] != 0), key=lambda pair: (-abs(pair[1]), pair[0]))
    return Attribution(
        answer.task, "student_contrib", bias + answer.student.base[output], _raw(answer, output), tuple(ordered)
    )  # fmt: skip


def _raw(answer: TaskAnswer, output: int) -> float:
    """The raw score that trees add up to; a direct model's output is a probability, so it is added up again."""
    assert answer.student is not None
    assert answer.prediction is not None
    assert answer.row is not None
    if answer.student.output_kind == "raw":
        return answer.prediction.raw[output]
    bias, values = answer.student.forest.contributions(answer.row, output)
    return bias + sum(values)


@dataclass(frozen=True)
class ReasonBook:
    """Wording policy of one package."""

    policy: Mapping[str, Any]
    groups: Mapping[str, str]
    """Feature -> group, from the feature schema."""
    popular: Sequence[str]
    """Items in order of use, most used first."""

    def reason(self, item: Item, attribution: Attribution | None, subject: str, locale: str) -> Reason:
        """Deterministic in its arguments; never empty."""
        feature = self._quotable(attribution, _direction(item, attribution.task)) if attribution else None
        category, phrase = self._words(feature, item, locale)
        variant = self._variant(subject, category)
        template = str(self.policy["templates"][category][locale][variant])
        sentence = fill(template, {"product": self.product(item, locale), "phrase": phrase})
        text = f"{sentence} {self.policy['ai_notice'][locale]}"
        return Reason(text, f"{self.policy['template_version']}/{category}/{locale}/{variant}", category, feature)

    def product(self, item: Item, locale: str) -> str:
        return str(self.policy["product_names"].get(item.item_id, {}).get(locale) or item.name)

    def _quotable(self, attribution: Attribution, direction: int) -> str | None:
        """The feature that raised the item's score most among those that have words and are not protected."""
        for name, value in attribution.contributions[: int(self.policy["top_features"])]:
            if value * direction > 0 and not self._protected(name) and self._phrase(name) and self._category(name):
                return name
        return None

    def _words(self, feature: str | None, item: Item, locale: str) -> tuple[str, str]:
        if feature is not None:
            return self._category(feature) or MINIMUM, str((self._phrase(feature) or {})[locale])
        return (POPULARITY if item.item_id in self.popular[:VARIANTS] else MINIMUM), ""

    def _category(self, feature: str) -> str | None:
        return self.policy["categories"].get(self.groups.get(feature, ""))  # type: ignore[no-any-return]

    def _phrase(self, feature: str) -> Mapping[str, str] | None:
        phrases = self.policy["phrases"]
        return phrases.get(feature) or phrases.get(self.groups.get(feature, ""))  # type: ignore[no-any-return]

    def _protected(self, feature: str) -> bool:
        return any(
            feature == name or (name.endswith("*") and feature.startswith(name[:-1]))
            for name in self.policy["protected"]
        )

    def _variant(self, subject: str, category: str) -> int:
        text = f"{subject}|{category}|{self.policy['template_version']}"
        return int.from_bytes(sha256(text.encode("utf-8")).digest(), "big") % VARIANTS


def _direction(item: Item, task: str) -> int:
    """A high churn score speaks for retention items and against all others."""
    return -1 if task == "churn_signal" and not item.retention else 1


def fill(template: str, words: Mapping[str, str]) -> str:
    """Put words into ``{name}`` and ``{name|closed/open}``: the particle follows the word's last sound."""

    def put(match: re.Match[str]) -> str:
        word, particles = words[match[1]], match[2]
        if not particles:
            return word
        closed, _, opened = particles.partition("/")
        return word + (closed if ends_closed(word) or not opened else opened)

    return _SLOT.sub(put, template)


def ends_closed(word: str) -> bool:
    """Whether a word ends in a consonant, as Korean particles hear it."""
    last = word.rstrip()[-1:]
    if last and ord(last) in _HANGUL:
        return (ord(last) - _HANGUL.start) % 28 != 0
    return last in _CLOSED_DIGITS + _CLOSED_LETTERS and last != ""
