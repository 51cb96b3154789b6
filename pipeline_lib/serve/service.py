"""One answer: read, decide, record, respond. Each step has a fallback on the safe side.

The opt-out is read first and alone; then switches, contact, suitability and features. What is decided from them is
in ``decide.py``; what cannot be decided that way is decided by rules alone, and where rules break too, non-personal
content is shown. Nothing personal leaves without the record's receipt. Source: serving.md 3 and 12.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, timezone
from math import inf
from typing import Any

from pipeline_lib.canonical import digest
from pipeline_lib.errors import PipelineError
from pipeline_lib.keys import subject_ref
from pipeline_lib.records import Receipt
from pipeline_lib.serve import answer, keeping, record, scopes
from pipeline_lib.serve.deadline import Deadline
from pipeline_lib.serve.decide import Decided, Known, decide
from pipeline_lib.serve.keep import Keep
from pipeline_lib.serve.policy import Policy
from pipeline_lib.serve.request import Refused, Request, parse
from pipeline_lib.serve.tables import Assessment, OptOut, Switch, Tables

log = logging.getLogger(__name__)
SEOUL = timezone(timedelta(hours=9))
"""Korea has had no summer time since 1988, and a bare runtime may lack the zone tables."""
BROKEN = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, PipelineError)
"""What a step raises whose data or policy is not what the code takes for granted."""
UNREADABLE_SWITCH = Switch("unreadable", "global", "*", "rule_based")


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
        known = self._read_opt_out(subject)
        stored = self._stored(request, subject, body, known)
        if stored is not None:
            return stored
        known = self._read_rest(subject, request, known, due)
        prediction_id = self.new_id()
        decided = self._decided(request, subject, known, prediction_id, due)
        if decided is None:
            return self._static(request, request_id, "NO_SAFE_ANSWER", "neither models nor rules have an answer")
        if not due.leaves(int(self.policy.serving["append_timeout_ms"]) / 1000):
            raise Refused(504, "DEADLINE", "no time is left to record an answer", retryable=True)
        response = self._recorded(request, subject, request_id, prediction_id, known, decided, started)
        self._store(request, body, known, response)
        if body is not None:
            keeping.remember(self, prediction_id, subject, request.locale, known, decided, response)
        return response

    def explain(self, body: Mapping[str, Any], request_id: str) -> dict[str, Any]:
        """Why an item was recommended. Raises Refused: the documented error answers."""
        from pipeline_lib.serve.explain import explain  # not before somebody asks: a recommendation needs none of it

        return explain(self, body, request_id)

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
        return Known(found, state, (), None, Assessment(None, None), None, trouble)

    def _read_rest(self, subject: str, request: Request, known: Known, due: Deadline) -> Known:
        trouble = list(known.trouble)

        def read(name: str, get: Callable[[], Any], otherwise: Any) -> Any:
            if due.passed():
                log.error("table %s not read: the deadline has passed", name)
                trouble.append(name)
                return otherwise
            try:
                return get()
            except BROKEN as error:
                log.error("table %s unreadable: %s", name, _said(error))
                trouble.append(name)
                return otherwise

        switches = read("kill_switch", self.tables.switches, (UNREADABLE_SWITCH,))
        contact = read("contact", lambda: self.tables.contact(subject), None) if request.outbound else None
        assessment = read("suitability", lambda: self.tables.assessment(subject), Assessment(None, None))
        customer = read("feature_row", lambda: self.tables.customer(subject), None)
        texts = read("kept_texts", lambda: keeping.texts(self, subject, known), {})
        fairness = read("fairness_state", self.tables.fairness, None)
        return replace(
            known, texts=texts, switches=switches, contact=contact, assessment=assessment, customer=customer,
            fairness=fairness, trouble=tuple(trouble),
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

    def _recorded(
        self, request: Request, subject: str, request_id: str, prediction_id: str, known: Known, decided: Decided,
        started: float,
    ) -> dict[str, Any]:  # fmt: skip
        bundle = self.policy.models.bundle
        operator = record.operator_ref(self.pepper, request.operator_id) if request.operator_id else None
        at = record.Context(
            request_id, prediction_id, subject, operator, bundle.version, bundle.manifest_sha256,
            str(bundle.manifest["config_hash"]), self.code_rev,
        )  # fmt: skip
        elapsed_us = int((time.perf_counter() - started) * 1e6)
        try:
            receipt = self.append(record.entries(at, request, decided.outcome, known.customer, elapsed_us))
        except BROKEN as error:
            log.error("nothing recorded, so nothing personal is answered: %s", _said(error))
            return self._static(request, request_id, "AUDIT_UNAVAILABLE", "the answer cannot be recorded")
        return answer.body(self.policy, request, at, decided, known.customer, receipt, self.now(), started)

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

    def _stored(
        self, request: Request, subject: str, body: Mapping[str, Any] | None, known: Known
    ) -> dict[str, Any] | None:
        """The answer stored under the same key; an opt-out or a kill switch since then makes it void."""
        if request.idempotency_key is None:
            return None
        hours = int(self.policy.serving["idempotency_hours"])
        try:
            found = self.tables.stored_answer(request.idempotency_key, self.now().timestamp(), hours)
            if found is None:
                return None
            stored: dict[str, Any] = json.loads(found[1])
            void = known.opted_out and stored["status"] != "opted_out_rules" or self._stopped(stored, subject)
        except BROKEN as error:
            log.error("idempotency store unreadable, answering anew: %s", _said(error))
            return None
        if found[0] != _request_digest(body):
            raise Refused(409, "IDEMPOTENCY_CONFLICT", "idempotency_key: used before with another body")
        return None if void else stored

    def _stopped(self, stored: Mapping[str, Any], subject: str) -> bool:
        """Whether a switch stops now what was answered then; what cannot be read stops everything."""
        by_models = {task for task, said in stored["tasks"].items() if said["layer"] < 3}
        try:
            on = self.tables.switches()
            customer = self.tables.customer(subject) if any(one.scope == "cluster" for one in on) else None
        except BROKEN as error:
            log.error("kill switches cannot be applied to a stored answer: %s", _said(error))
            on, customer = (UNREADABLE_SWITCH,), None
        tasks = {one.target for one in on if one.scope == "task"}
        nothing = scopes.wide([one for one in on if one.fallback == "disable"], customer)
        return bool(by_models & tasks or (by_models and scopes.wide(on, customer)) or nothing)

    def _store(
        self, request: Request, body: Mapping[str, Any] | None, known: Known, response: Mapping[str, Any]
    ) -> None:
        if request.idempotency_key is None or response["receipt"] is None:
            return
        text, digested = json.dumps(response, ensure_ascii=False), _request_digest(body)
        now, hours = self.now().timestamp(), int(self.policy.serving["idempotency_hours"])
        try:
            self.tables.store_answer(request.idempotency_key, digested, text, now, hours)
        except BROKEN as error:
            log.error("idempotency store not written: %s", _said(error))


def _said(error: Exception) -> str:
    """Our own errors in their words; of others the kind alone, for they quote the value that they stumbled over."""
    return str(error) if isinstance(error, PipelineError) else type(error).__name__


def _request_digest(body: Mapping[str, Any] | None) -> str:
    return digest(json.loads(json.dumps(body), parse_float=str))
