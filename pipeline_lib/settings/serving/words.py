"""How an answer is said: templates, facts, the optional rewrite. Source: serving.md 9."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline_lib.conditions import Condition
from pipeline_lib.errors import SettingsError
from pipeline_lib.settings.base import Section

CATEGORIES = ("holdings", "spending", "trend", "relationship", "popularity", "minimum_safe")
VARIANTS = 5


def _condition(text: str) -> Condition:
    """A condition that does not parse, as pydantic reports it."""
    try:
        return Condition(text)
    except SettingsError as error:
        raise ValueError(str(error)) from error


class Text(Section):
    ko: str
    en: str


class Templates(Section):
    ko: list[str] = Field(min_length=VARIANTS, max_length=VARIANTS)
    en: list[str] = Field(min_length=VARIANTS, max_length=VARIANTS)


class Links(Section):
    ko: list[str] = Field(min_length=1)
    en: list[str] = Field(min_length=1)


class Fact(Section):
    """What may be said of a customer of whom the condition holds."""

    name: str
    when: str
    """Comparisons of features, joined by ``and``; see ``conditions.py``."""
    ko: str
    en: str

    @model_validator(mode="after")
    def _parsed(self) -> Fact:
        _condition(self.when)
        return self


class Agreement(Section):
    """What reasons ask of the contributions that they quote, measured beside TreeSHAP. Source: serving.md 9.1."""

    top5: float = Field(ge=0, le=1)
    """Below this overlap of the five largest a task is flagged in the manifest [0..1]."""
    sign: float = Field(ge=0, le=1)
    """Below this share of equal signs a task's texts name groups of features, not features [0..1]."""


class Reasons(Section):
    template_version: str
    top_features: int = Field(ge=1, le=10)
    agreement: Agreement
    ai_notice: Text
    categories: dict[str, str]
    """Feature or feature group -> wording category; what is not listed is never quoted."""
    requires: dict[str, str]
    """Wording category -> condition on the customer without which it is not used."""
    phrases: dict[str, Text]
    """Words a customer understands, the ``explainable`` flag; keys from special to general: task/direction/feature,
    task/direction/group, task/feature, task/group, feature, group."""
    facts: list[Fact]
    """The first fact that holds and needs the quoted feature is said instead of its phrase."""
    links: dict[str, Links]
    """``task/direction`` or ``task`` -> what the deciding task makes of the phrase."""
    protected: list[str]
    """Features (or prefixes ending in ``*``) that never enter a text."""
    product_names: dict[str, Text]
    """Product -> name in a text; otherwise its meaning in the source."""
    templates: dict[str, Templates]
    restricted: list[str]
    urgent: list[str]
    personal: list[str]
    """Words no delivered text may contain: promises, urgency, and words on the person. Source: serving.md 9.3."""
    assured: dict[str, list[str]]
    """Risk grade -> words that promise more than a product of this grade, or of a higher one, allows."""
    terms: list[str]
    """Words on a product's terms: allowed only where the product's name or a fact has them."""

    @model_validator(mode="after")
    def _complete(self) -> Reasons:
        if set(self.templates) != set(CATEGORIES):
            raise ValueError(f"templates: expected {sorted(CATEGORIES)}, found {sorted(self.templates)}")
        if bad := sorted(set(self.categories.values()) - set(CATEGORIES)):
            raise ValueError(f"categories: {bad} are not among {sorted(CATEGORIES)}")
        needed = {name for text in self.requires.values() for name in _condition(text).features}
        needed |= {name for fact in self.facts for name in _condition(fact.when).features}
        if bad := sorted(needed & set(self.protected)):
            raise ValueError(f"requires, facts: {bad} are protected, and no condition on a text may look at them")
        return self


class Pause(Section):
    failures: int = Field(ge=1)
    """So many failures in a row and the provider is left alone."""
    pause_s: float = Field(gt=0)
    """For so long [s]."""


class L2a(Section):
    """The optional rewrite of a reason. Source: serving.md 9.4."""

    provider: Literal["none", "bedrock", "recorded"]
    model_id: str
    """Bedrock's model or inference profile."""
    ttl_h: int = Field(ge=1, le=24)
    """How long a rewritten text, and what explains an answer, is kept [h]."""
    f_pass: float = Field(ge=0.8, le=1)
    f_revise: float = Field(ge=0.5, le=1)
    """Factuality from which a text passes, and from which it may be corrected once [0..1]."""
    max_calls: int = Field(ge=2, le=3)
    """Questions to the model for one text; two leave no correction."""
    min_len: int = Field(ge=30)
    max_len: int = Field(le=200)
    """Length of a text without its notice [characters]."""
    hangul_share: float = Field(ge=0.8, le=1)
    """Share of Hangul among the letters of a Korean text."""
    write_temperature: float = Field(ge=0, le=1)
    critique_temperature: float = Field(ge=0, le=1)
    max_tokens: int = Field(ge=1, le=500)
    timeout_s: float = Field(gt=0, le=20)
    """For all questions together; the function itself ends after 29 s."""
    breaker: Pause
    rich: list[str]
    moderate: list[str]
    """Conditions on the customer, any of which makes the context rich or moderate."""

    @model_validator(mode="after")
    def _usable(self) -> L2a:
        for text in self.rich + self.moderate:
            _condition(text)
        if self.provider == "bedrock" and not self.model_id:
            raise ValueError("l2a.model_id is empty, and provider bedrock needs one")
        if self.f_revise > self.f_pass:
            raise ValueError(f"l2a.f_revise is {self.f_revise}, expected at most f_pass {self.f_pass}")
        return self
