"""One rewrite: clean, ask, look, judge; at most one correction and three questions. Source: serving.md 9.4.

    1  what goes into the question is cleaned, and gives no orders        INJECTION
    2  the model writes                                                   PROVIDER, BREAKER_OPEN
    3  the answer has the form of a text of ours                          LENGTH, STRUCTURE, LANGUAGE, CHARACTERS
    4  the rule parts of the five criteria pass                           RULES
    5  the model judges: compliant and factual                            UNREADABLE_VERDICT, NOT_COMPLIANT, NOT_FACTUAL
    6  nearly factual: the correction it proposes goes through 3 to 5     CALLS_SPENT

The judge proposes the correction together with its verdict: the text that is delivered has been judged itself, and
three questions are enough for that.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from pipeline_lib.serve.guardrail import Evidence, Finding, Gate, verdict
from pipeline_lib.serve.rewrite import clean, critique, prompts
from pipeline_lib.serve.rewrite.breaker import Breaker
from pipeline_lib.serve.rewrite.provider import Prompt, Provider, ProviderFailed

log = logging.getLogger(__name__)

PASSED = "PASSED"


@dataclass(frozen=True)
class Rewritten:
    """How a rewrite ended, for the answer and for the record."""

    why: str
    """PASSED, or what stopped it."""
    text: str | None
    """With the notice; None: the template's text stays."""
    findings: tuple[Finding, ...] = ()
    """Of the last text that was judged; empty: none was."""
    judged: str | None = None
    """That text."""
    calls: int = 0
    provider_model: str | None = None
    prompt_sha256: str | None = None
    """Of the question that made the model write."""
    reply_sha256: str | None = None
    """Of its last answer."""


class Stopped(Exception):
    """The rewrite ends here; ``why`` goes into the record."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Rewriter:
    """Args: policy: ``serving.l2a``."""

    def __init__(self, provider: Provider, gate: Gate, policy: Mapping[str, Any]) -> None:
        self._provider, self._gate, self._policy = provider, gate, policy
        own = policy["breaker"]
        self.breaker = Breaker(int(own["failures"]), float(own["pause_s"]))

    def rewrite(self, text: str, facts: Sequence[str], evidence: Evidence) -> Rewritten:
        """Never raises for what the provider does. ``text``: the template's, with its notice."""
        run = _Run(self._provider, self.breaker, self._gate, self._policy, evidence)
        try:
            return run.finished(PASSED, run.text(text, facts))
        except Stopped as stopped:
            log.warning("rewrite kept the template: %s", stopped.why)
            return run.finished(stopped.why, None)


class _Run:
    def __init__(
        self, provider: Provider, breaker: Breaker, gate: Gate, policy: Mapping[str, Any], evidence: Evidence
    ) -> None:
        self._provider, self._breaker, self._gate = provider, breaker, gate
        self._policy, self._evidence = policy, evidence
        self._done = Rewritten("", None, provider_model=provider.name)

    def finished(self, why: str, text: str | None) -> Rewritten:
        return replace(self._done, why=why, text=text)

    def text(self, text: str, facts: Sequence[str]) -> str:
        """A text that passed everything. Raises Stopped."""
        body = self._body(text, facts)
        question = prompts.write(body, self._evidence.locale, self._policy)
        self._done = replace(self._done, prompt_sha256=question.sha256)
        written, judgement = self._judged(self._ask(question), body)
        if judgement.verdict(self._policy) == "revise" and judgement.revision:
            written, judgement = self._judged(judgement.revision, body)
        if judgement.verdict(self._policy) != "pass":
            raise Stopped("NOT_COMPLIANT" if judgement.c != 1 else "NOT_FACTUAL")
        return written

    def _body(self, text: str, facts: Sequence[str]) -> dict[str, Any]:
        sentence = clean.sanitise(text.replace(self._evidence.notice, ""))
        product, words = clean.sanitise(self._evidence.product), [clean.sanitise(fact) for fact in facts]
        if clean.injected([sentence, product, *words]):
            raise Stopped("INJECTION")
        return {"text": sentence, "facts": words, "product": product, "risk_grade": self._evidence.risk_grade}

    def _judged(self, answer: str, body: Mapping[str, Any]) -> tuple[str, critique.Critique]:
        """The text with its notice, past form and rules, and the model's verdict on it."""
        sentence = answer.strip()
        if why := clean.malformed(sentence, self._evidence.locale, self._policy):
            raise Stopped(why.upper())
        text = f"{sentence} {self._evidence.notice}"
        findings = self._gate.check(text, self._evidence)
        self._done = replace(self._done, findings=findings, judged=text)
        if verdict(findings) != "pass":
            raise Stopped("RULES")
        found = critique.read(self._ask(prompts.judge(sentence, body, self._evidence.locale, self._policy)).strip())
        self._done = replace(self._done, findings=scored(findings, found, self._policy))
        if found is None:
            raise Stopped("UNREADABLE_VERDICT")
        return text, found

    def _ask(self, question: Prompt) -> str:
        if self._breaker.open:
            raise Stopped("BREAKER_OPEN")
        if self._done.calls >= int(self._policy["max_calls"]):
            raise Stopped("CALLS_SPENT")
        self._done = replace(self._done, calls=self._done.calls + 1)
        try:
            answer = self._provider.ask(question)
        except (ProviderFailed, OSError) as error:
            self._breaker.failed()
            log.warning("%s: %s", self._provider.name, error)
            raise Stopped("PROVIDER") from error
        self._breaker.answered()
        self._done = replace(self._done, reply_sha256=sha256(answer.encode("utf-8", "surrogatepass")).hexdigest())
        return answer


def scored(
    findings: Sequence[Finding], found: critique.Critique | None, policy: Mapping[str, Any]
) -> tuple[Finding, ...]:
    """The findings with the model's parts: compliance is regulatory, factuality is hallucination; unread is 0."""
    parts = {
        "regulatory": (0.0 if found is None else float(found.c), 1.0),
        "hallucination": (0.0 if found is None else found.f, float(policy["f_pass"])),
    }
    return tuple(_scored(one, *parts[one.criterion]) if one.criterion in parts else one for one in findings)


def _scored(finding: Finding, score: float, least: float) -> Finding:
    return replace(finding, score=score, threshold=least, passed=finding.passed and score >= least)
