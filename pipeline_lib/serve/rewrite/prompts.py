"""The two questions. They hold the template's text, the facts and the product: no customer, no pseudonym.

Whoever changes a word of them changes ``keep.QUESTIONS`` too: earlier rewrites then no longer answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline_lib.serve.rewrite.provider import Prompt

_LANGUAGE = {"ko": "Korean, in the honorific style of a bank (합쇼체)", "en": "plain, polite English"}
_WRITE = (
    "You rewrite one sentence of a bank to its customer. Write in {language}. Use only what EVIDENCE says: no other "
    "number, product, feature, term, promise, urgency or comparison, and nothing about the person. Name the product "
    "exactly as given. {low} to {high} characters. Answer with the text alone."
)
_JUDGE = (
    "You are a bank's compliance reviewer. Judge TEXT against EVIDENCE. Answer with one JSON object and nothing else: "
    '{{"f": share of the claims in TEXT that EVIDENCE supports, from 0 to 1, "c": 1 if TEXT promises, urges and '
    'assures nothing and says nothing about the person, else 0, "revision": TEXT corrected in {language}, {low} to '
    "{high} characters, only if f is below 0.8}}."
)


def write(evidence: Mapping[str, Any], locale: str, policy: Mapping[str, Any]) -> Prompt:
    """Ask for a rewrite of ``evidence["text"]``."""
    return Prompt(_filled(_WRITE, locale, policy), _body(evidence), float(policy["write_temperature"]))


def judge(text: str, evidence: Mapping[str, Any], locale: str, policy: Mapping[str, Any]) -> Prompt:
    """Ask for a verdict on a rewrite."""
    body = f"{_body(evidence)}\nTEXT\n{text}"
    return Prompt(_filled(_JUDGE, locale, policy), body, float(policy["critique_temperature"]))


def _filled(template: str, locale: str, policy: Mapping[str, Any]) -> str:
    return template.format(language=_LANGUAGE[locale], low=policy["min_len"], high=policy["max_len"])


def _body(evidence: Mapping[str, Any]) -> str:
    return f"EVIDENCE\n{json.dumps(evidence, ensure_ascii=False, sort_keys=True)}"
