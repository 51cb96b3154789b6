"""Why this item: which features moved the deciding score, and one or two sentences a customer understands.

The sentences are templates, chosen by hash, so the same customer reads the same words tomorrow. They name only a
feature with customer words (the ``explainable`` flag) that raised the item's score, and only where what they presume
is known of the customer; never a protected attribute; never a column name. The words are the first that policy has for
task, direction and feature, from special to general; a fact that holds is said instead of the feature's name. Without
such a feature the text says how widely the product is used, or nothing but its name. Source: serving.md 9.1 and 9.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pipeline_lib.conditions import Condition
from pipeline_lib.serve.layers import TaskAnswer
from pipeline_lib.serve.suitability import Item

POPULARITY, MINIMUM = "popularity", "minimum_safe"
VARIANTS = 5
_SLOT = re.compile(r"\{(\w+)(?:\|([^}]*))?\}")
_HANGUL = range(0xAC00, 0xD7A4)
_RIEUL, _OTHER = 8, 1
_SOUNDS = {
    "1": _RIEUL,
    "7": _RIEUL,
    "8": _RIEUL,
    "0": _OTHER,
    "3": _OTHER,
    "6": _OTHER,
    "l": _RIEUL,
    "m": _OTHER,
    "n": _OTHER,
}
"""Final consonants of digits and of the letters that a foreign word's last sound is heard by."""


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
class Grounds:
    """What a text about one item rests on, in no language yet: what is stored to explain an answer later."""

    item_id: str
    name: str
    """Of the product in its source."""
    category: str
    task: str
    direction: str
    """What the feature did to the task's score, up or down; without a task empty."""
    feature: str | None
    """The one that is quoted; None: a neutral text."""
    facts: tuple[str, ...]
    """Names of all facts that hold, whether the text uses them or not."""


@dataclass(frozen=True)
class Reason:
    """A delivered text with what it may mention."""

    text: str
    template_id: str
    locale: str
    grounds: Grounds
    product: str
    known: tuple[str, ...]
    """Words the text rests on: product, phrase, link and facts."""
    source: str = "L1"


def attribute(answer: TaskAnswer, output: int = 0) -> Attribution:
    """Where the answer of one task comes from; ``output`` is the class of a multiclass task."""
    if answer.student is None or answer.prediction is None or answer.row is None:
        return _by_rule(answer, output)
    bias, values = answer.student.forest.contributions(answer.row, output)
    named = zip(answer.student.features, values, strict=True)
    ordered = sorted((pair for pair in named if pair[1] != 0), key=lambda pair: (-abs(pair[1]), pair[0]))
    return Attribution(
        answer.task, "student_contrib", bias + answer.student.base[output], _raw(answer, output), tuple(ordered)
    )  # fmt: skip


def _by_rule(answer: TaskAnswer, output: int) -> Attribution:
    """What the rule made of the base rate, in equal parts to the inputs it looked at: it tells them not apart."""
    value = answer.values[output] if output < len(answer.values) else 0.0
    base = answer.base[output] if answer.rule and answer.rule.inputs and output < len(answer.base) else value
    inputs = answer.rule.inputs if answer.rule else ()
    return Attribution(answer.task, "rule", base, value, tuple((name, (value - base) / len(inputs)) for name in inputs))


def _raw(answer: TaskAnswer, output: int) -> float:
    """The raw score that trees add up to; a direct model's output is a probability, so it is added up again."""
    assert answer.student is not None
    assert answer.prediction is not None
    assert answer.row is not None
    if answer.student.output_kind == "raw":
        return answer.prediction.raw[output]
    bias, values = answer.student.forest.contributions(answer.row, output)
    return bias + sum(values)


class ReasonBook:
    """Wording policy of one package.

    Args:
        groups: feature -> group, from the feature schema. popular: items in order of use, most used first.
        coarse: tasks whose contributions agree too little with TreeSHAP to name one feature: the group is named.
    """

    def __init__(
        self, policy: Mapping[str, Any], groups: Mapping[str, str], popular: Sequence[str], coarse: Sequence[str] = ()
    ) -> None:
        self.policy, self.groups = policy, groups
        self._popular, self._coarse = tuple(popular[:VARIANTS]), frozenset(coarse)
        self._requires = {category: Condition(text) for category, text in policy["requires"].items()}
        self._facts = tuple((fact, Condition(fact["when"])) for fact in policy["facts"])

    def reason(
        self, item: Item, attribution: Attribution | None, subject: str, locale: str, known: Mapping[str, float]
    ) -> Reason:
        """Deterministic in its arguments; never empty. ``known``: the customer's features by name."""
        return self.say(self.grounds(item, attribution, known), subject, locale)

    def grounds(self, item: Item, attribution: Attribution | None, known: Mapping[str, float]) -> Grounds:
        """What there is to say about an item to this customer."""
        task, direction, feature = "", "", None
        if attribution:
            task, sign = attribution.task, _sign(item, attribution.task)
            direction = "up" if sign > 0 else "down"
            feature = self._quotable(attribution, sign, direction, known)
        category = self._category(feature) if feature else None
        category = category or (POPULARITY if item.item_id in self._popular else MINIMUM)
        facts = tuple(str(fact["name"]) for fact, needs in self._facts if needs.holds(known))
        return Grounds(item.item_id, item.name, category, task, direction, feature, facts)

    def say(self, of: Grounds, subject: str, locale: str) -> Reason:
        """The template's text: sentence, link if a feature is quoted, and the notice."""
        facts = [(fact, needs.features) for fact, needs in self._facts if fact["name"] in of.facts]
        phrase = str(self._words(of, facts)[locale]) if of.feature else ""
        link = self._link(of, subject, locale) if of.feature else ""
        variant = self._pick(subject, of.category, VARIANTS)
        product = self.product(of.item_id, of.name, locale)
        template = str(self.policy["templates"][of.category][locale][variant])
        sentence = fill(template, {"product": product, "phrase": phrase})
        text = " ".join(part for part in (sentence, link, self.policy["ai_notice"][locale]) if part)
        template_id = f"{self.policy['template_version']}/{of.category}/{locale}/{variant}"
        words = (product, phrase, link, *(str(fact[locale]) for fact, _ in facts))
        return Reason(text, template_id, locale, of, product, tuple(word for word in words if word))

    def product(self, item_id: str, name: str, locale: str) -> str:
        return str(self.policy["product_names"].get(item_id, {}).get(locale) or name)

    def _quotable(self, attribution: Attribution, sign: int, direction: str, known: Mapping[str, float]) -> str | None:
        """The feature that raised the item's score most among those that may be named of this customer."""
        task = attribution.task
        for name, value in attribution.contributions[: int(self.policy["top_features"])]:
            if value * sign > 0 and self._may_name(name, known) and self.phrase(name, task, direction):
                return name
        return None

    def _may_name(self, feature: str, known: Mapping[str, float]) -> bool:
        category = self._category(feature)
        if category is None or self._protected(original(feature)):
            return False
        needed = self._requires.get(category)
        return needed is None or needed.holds(known)

    def _words(self, of: Grounds, facts: Sequence[tuple[Mapping[str, str], frozenset[str]]]) -> Mapping[str, str]:
        """A fact about the feature, or the first phrase of the cascade."""
        assert of.feature is not None
        name = original(of.feature)
        stated = None if of.task in self._coarse else next((fact for fact, needs in facts if name in needs), None)
        return stated or self.phrase(of.feature, of.task, of.direction) or {}

    def phrase(self, feature: str, task: str, direction: str) -> Mapping[str, str] | None:
        """Words for a feature that moved a task's score ``up`` or ``down``; None: there are none."""
        name = original(feature)
        group = self.groups.get(name, "")
        steps = (group,) if task in self._coarse and group in self.policy["phrases"] else (name, group)
        keys = [f"{task}/{direction}/{step}" for step in steps] + [f"{task}/{step}" for step in steps] + [*steps]
        found: Mapping[str, str] | None = _first(self.policy["phrases"], keys)
        return found

    def _link(self, of: Grounds, subject: str, locale: str) -> str:
        found = _first(self.policy["links"], (f"{of.task}/{of.direction}", of.task))
        return str(found[locale][self._pick(subject, of.task, len(found[locale]))]) if found else ""

    def _category(self, feature: str) -> str | None:
        name = original(feature)
        categories = self.policy["categories"]
        return categories.get(name) or categories.get(self.groups.get(name, ""))  # type: ignore[no-any-return]

    def _protected(self, feature: str) -> bool:
        return any(
            feature == name or (name.endswith("*") and feature.startswith(name[:-1]))
            for name in self.policy["protected"]
        )

    def _pick(self, subject: str, what: str, among: int) -> int:
        text = f"{subject}|{what}|{self.policy['template_version']}"
        return int.from_bytes(sha256(text.encode("utf-8")).digest(), "big") % among


def original(feature: str) -> str:
    """The column that a log copy is a copy of; any other column is itself."""
    return feature.removesuffix("__log")


def _first(table: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((table[key] for key in keys if key in table), None)


def _sign(item: Item, task: str) -> int:
    """A high churn score speaks for retention items and against all others."""
    return -1 if task == "churn_signal" and not item.retention else 1


def fill(template: str, words: Mapping[str, str]) -> str:
    """Put words into ``{name}`` and ``{name|closed/open}``: the particle follows the word's last sound."""

    def put(match: re.Match[str]) -> str:
        word, particles = words[match[1]], match[2]
        if not particles:
            return word
        closed, _, opened = particles.partition("/")
        if closed == "으로" and _final(word) == _RIEUL:
            return word + opened
        return word + (closed if ends_closed(word) or not opened else opened)

    return _SLOT.sub(put, template)


def ends_closed(word: str) -> bool:
    """Whether a word ends in a consonant, as Korean particles hear it; a closing bracket or quote has no sound."""
    return _final(word) != 0


def _final(word: str) -> int:
    """Number of the final consonant of a word's last sound; 0 = none."""
    last = next((letter for letter in reversed(word) if letter.isalnum()), "")
    if last and ord(last) in _HANGUL:
        return (ord(last) - _HANGUL.start) % 28
    return _SOUNDS.get(last.lower(), 0)
