"""One answer: read, decide, record, respond. Each step has a fallback on the safe side.

The opt-out is read first and alone; then switches, contact, suitability and features. What is decided from them is
in ``decide.py``; what cannot be decided that way is decided by rules alone, and where rules break too, non-personal
content is shown. Nothing personal leaves without the record's receipt. Source: serving.md 3 and 12.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, timezone
from math import inf
from typing import Any

from pipeline_lib.errors import PipelineError
from pipeline_lib.keys import subject_ref
from pipeline_lib.records import Receipt
from pipeline_lib.serve import answer, keeping, record, repeat
from pipeline_lib.serve.deadline import Deadline
from pipeline_lib.serve.decide import Decided, Known, decide
from pipeline_lib.serve.keep import Keep
from pipeline_lib.serve.policy import Policy
from pipeline_lib.serve.recorder import worst_append_s
from pipeline_lib.serve.request import Refused, Request, parse
from pipeline_lib.serve.scopes import UNREADABLE_SWITCH
from pipeline_lib.serve.tables import Assessment, OptOut, Tables

log = logging.getLogger(__name__)
SEOUL = timezone(timedelta(hours=9))
"""Korea has had no summer time since 1988, and a bare runtime may lack the zone tables."""
BROKEN = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, PipelineError)
"""What a step raises whose data or policy is not what the code takes for granted."""
ABOUT = ("contact", "suitability", "feature_row")
"""What is read about one customer, after the opt-out."""


@dataclass
class Service:
    """One function instance: a package, its tables and its writer of the record."""

    policy: Policy
    tables: Tables
    keep: Keep
    append: Callable[[Sequence[Any]], Receipt]
    """Durable append; raises AppendFailed."""
    pepper: bytes
    code_rev: str
    as_of_allowed: bool
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    recording: str = ""
    """File of what the rewriting provider ``recorded`` replays."""
    rewriter: Any = None
    """Made by the first explanation that needs it; a breaker's memory is the instance's."""
    clock: Callable[[], float] = time.monotonic
    new_id: Callable[[], str] = field(default=lambda: uuid.uuid4().hex)

    def recommend(self, body: Mapping[str, Any], request_id: str, remaining_s: float = inf) -> dict[str, Any]:
        """The 200 answer of a request.

        Args:
            remaining_s: after which the platform ends this function [s].

        Raises:
            Refused: the documented error answers.
        """
        request = parse(body, tuple(self.policy.models.tasks), as_of_allowed=self.as_of_allowed)
        due = Deadline(int(self.policy.serving["deadline_ms"]) / 1000, remaining_s, self.clock)
        return self.answer(request, subject_ref(self.pepper, request.customer_id), request_id, body, due)

    def answer(
        self, request: Request, subject: str, request_id: str, body: Mapping[str, Any] | None = None,
        due: Deadline | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """The 200 answer about a pseudonym: what a request and the nightly batch have in common.

        Args:
            body: as it came, to know an idempotency key's first use from another one; the batch has none.
            due: when it must be done; the batch has no deadline.

        Raises:
            Refused: the documented error answers.
        """
        started, due = time.perf_counter(), due or Deadline()
        known = self._read_rest(subject, request, self._read_opt_out(subject), due)
        prediction_id = self.new_id()
        claimed = self._claimed(request, body, known)
        if isinstance(claimed, dict):
            return self._repeated(request, subject, request_id, known, claimed)
        response = None
        try:
            response = self._answered(request, subject, request_id, prediction_id, known, due, started)
        finally:
            if claimed is not None:
                self._settle(claimed, response)
        return response

    def explain(
        self, body: Mapping[str, Any], request_id: str, who: str | None = None, channels: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Why an item was recommended.

        Args:
            who: asks, as the gateway says; None: it does not say. channels: whose answers they may see; None: all.

        Raises:
            Refused: the documented error answers.
        """
        from pipeline_lib.serve.explain import explain  # not before somebody asks: a recommendation needs none of it

        operator = record.operator_ref(self.pepper, who) if who else None
        return explain(self, body, request_id, operator, channels)

    def health(self) -> dict[str, Any]:
        """Which version answers and how; no customer data."""
        models = self.policy.models
        layers = {name: models.serve_layer(name)[0] if models.predictor else 3 for name in models.tasks}
        return {
            "status": "ok" if models.predictor else "degraded",
            "version": models.bundle.version,
            "manifest_sha256": models.bundle.manifest_sha256,
            "tasks": layers,
            "load_errors": models.predictor.load_errors if models.predictor else {"models": models.refused},
            "policy": models.bundle.manifest["config_hash"],
        }

    def _read_opt_out(self, subject: str) -> Known:
        """The first read of every request. An answer that cannot be read is "opted out"."""
        try:
            found = self.tables.opt_out(subject)
            state = "out" if found.opted_out else "in"
            trouble: tuple[str, ...] = ()
        except BROKEN as error:
            log.error("opt-out unreadable, answering by rules: %s", _said(error))
            found, state, trouble = OptOut(True, None), "unreadable", ("optout",)
        about = () if trouble else ("optout",)
        return Known(found, state, (), None, Assessment(None, None), None, trouble, about=about)

    def _read_rest(self, subject: str, request: Request, known: Known, due: Deadline) -> Known:
        trouble, about = list(known.trouble), list(known.about)

        def read(name: str, get: Callable[[], Any], otherwise: Any) -> Any:
            if due.passed():
                log.error("table %s not read: the deadline has passed", name)
                trouble.append(name)
                return otherwise
            try:
                found = get()
            except BROKEN as error:
                log.error("table %s unreadable: %s", name, _said(error))
                trouble.append(name)
                return otherwise
            about.extend([name] if name in ABOUT else [])
            return found

        switches = read("kill_switch", self.tables.switches, (UNREADABLE_SWITCH,))
        contact = read("contact", lambda: self.tables.contact(subject), None) if request.outbound else None
        assessment = read("suitability", lambda: self.tables.assessment(subject), Assessment(None, None))
        customer = read("feature_row", lambda: self.tables.customer(subject), None)
        texts = read("kept_texts", lambda: keeping.texts(self, subject, known), {})
        fairness = read("fairness_state", self.tables.fairness, None)
        return replace(
            known, texts=texts, switches=switches, contact=contact, assessment=assessment, customer=customer,
            fairness=fairness, trouble=tuple(trouble), about=tuple(about),
        )  # fmt: skip

    def _decided(
        self, request: Request, subject: str, known: Known, prediction_id: str, due: Deadline
    ) -> Decided | None:
        """The decision; by rules alone where the usual way breaks; None where rules break too."""
        for force in (None, "DECISION_FAILED"):
            try:
                return decide(
                    self.policy, request, subject, known, self._today(request), self._hour(), prediction_id,
                    due.passed, force,
                )  # fmt: skip
            except BROKEN as error:
                log.critical("no decision %s: %s", "by rules" if force else "by the models", type(error).__name__)
        return None

    def _answered(
        self, request: Request, subject: str, request_id: str, prediction_id: str, known: Known, due: Deadline,
        started: float,
    ) -> dict[str, Any]:  # fmt: skip
        """The recorded answer, or what is shown instead."""
        decided = self._decided(request, subject, known, prediction_id, due)
        if decided is None:
            return self._static(request, request_id, "NO_SAFE_ANSWER", "neither models nor rules have an answer")
        if not due.leaves(worst_append_s(self.policy.serving)):
            raise Refused(504, "DEADLINE", "no time is left to record an answer", retryable=True)
        at = self._at(request, subject, request_id, prediction_id)
        try:
            body = answer.body(self.policy, request, at, decided, known.customer, self.now())
            elapsed_us = int((time.perf_counter() - started) * 1e6)
            entries = record.entries(at, request, decided.outcome, known.customer, known.about, elapsed_us)
        except BROKEN as error:
            log.critical("no answer can be written down: %s", type(error).__name__)
            return self._static(request, request_id, "NO_SAFE_ANSWER", "the answer cannot be written down")
        receipt = self._appended(entries)
        if receipt is None:
            return self._static(request, request_id, "AUDIT_UNAVAILABLE", "the answer cannot be recorded")
        if request.customer_id:  # the nightly batch names nobody, and nobody asks it why
            self._remember(prediction_id, subject, request, known, decided)
        return answer.recorded(body, receipt, started)

    def _remember(self, prediction_id: str, subject: str, request: Request, known: Known, decided: Decided) -> None:
        try:
            keeping.remember(self, prediction_id, subject, request, known, decided)
        except BROKEN as error:
            log.error("an answer was not kept, it cannot be explained: %s", _said(error))

    def _at(self, request: Request, subject: str, request_id: str, prediction_id: str) -> record.Context:
        bundle = self.policy.models.bundle
        operator = record.operator_ref(self.pepper, request.operator_id) if request.operator_id else None
        return record.Context(
            request_id, prediction_id, subject, operator, bundle.version, bundle.manifest_sha256,
            str(bundle.manifest["config_hash"]), self.code_rev,
        )  # fmt: skip

    def _appended(self, entries: Sequence[Any]) -> Receipt | None:
        try:
            return self.append(entries)
        except BROKEN as error:
            log.error("nothing recorded, so nothing personal is answered: %s", _said(error))
            return None

    def _static(self, request: Request, request_id: str, code: str, why: str) -> dict[str, Any]:
        """Non-personal content, or 503 with the code where it may not be shown or cannot be made."""
        if not self.policy.serving["static_content"]:
            raise Refused(503, code, why, retryable=True)
        try:
            return answer.static(self.policy, request_id, self.now(), request.outbound)
        except BROKEN as error:
            log.critical("no static content: %s", type(error).__name__)
            raise Refused(503, "NO_SAFE_ANSWER", f"{why}, and there is no static content", retryable=True) from error

    def _today(self, request: Request) -> date:
        return request.as_of or self.now().astimezone(SEOUL).date()

    def _hour(self) -> int:
        return self.now().astimezone(SEOUL).hour

    def _claimed(
        self, request: Request, body: Mapping[str, Any] | None, known: Known
    ) -> repeat.Claim | dict[str, Any] | None:
        """The stored answer of the request's key, or the right to make it; None without a key or a store."""
        if request.idempotency_key is None or body is None:
            return None
        try:
            ground = repeat.ground(self.policy, request, known, self._today(request), self._hour())
            now, hours = self.now().timestamp(), int(self.policy.serving["idempotency_hours"])
            return repeat.claim(self.tables, self.pepper, request, body, ground, now, hours)
        except BROKEN as error:
            log.error("idempotency store unreadable, answering anew: %s", _said(error))
            return None

    def _repeated(
        self, request: Request, subject: str, request_id: str, known: Known, stored: dict[str, Any]
    ) -> dict[str, Any]:
        """The stored answer, recorded as given again."""
        at = self._at(request, subject, request_id, stored["prediction_id"])
        if self._appended(record.repeated(at, request, known.customer, known.about)) is None:
            return self._static(request, request_id, "AUDIT_UNAVAILABLE", "the answer cannot be recorded")
        return stored

    def _settle(self, claimed: repeat.Claim, response: Mapping[str, Any] | None) -> None:
        try:
            claimed.settle(self.tables, response, self.now().timestamp())
        except BROKEN as error:
            log.error("idempotency store not written: %s", _said(error))


def _said(error: Exception) -> str:
    """Our own errors in their words; of others the kind alone, for they quote the value that they stumbled over."""
    return str(error) if isinstance(error, PipelineError) else type(error).__name__
