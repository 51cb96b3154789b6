"""Random faults over many requests: ``python -m tests.unit.serve.faults.storm --requests 10000`` prints the figures.

Before each request, each part independently may start or stop failing: every table refuses, gives garbage or is slow;
both stores of the record refuse, time out, or keep what they say they did not; models refuse or give nonsense;
switches and opt-outs come and go; rows are damaged; the clock jumps. One request in ten is no valid one.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline_lib.audit import checkpoint, record, session, verify
from pipeline_lib.errors import StoreError
from pipeline_lib.records import Receipt
from pipeline_lib.runs import RunContext
from pipeline_lib.serve import local
from pipeline_lib.serve.handler import respond
from pipeline_lib.serve.kernel import LibraryFailed
from pipeline_lib.serve.predictor import PredictionRefused
from pipeline_lib.serve.tables import TableUnreadable
from tests.unit.serve import contract
from tests.unit.serve.conftest import CUSTOMERS, make_bank
from tests.unit.serve.faults.world import BODY, Sink, World

READS = ("opt_out", "switches", "contact", "assessment", "customer", "stored_answer", "store_answer")
READ_TIMEOUT_S, APPEND_TIMEOUT_S, FUNCTION_MS = 0.2, 0.4, 3000
EVENTS = ["attribution", "data_access", "guardrail", "prediction"]


@dataclass
class Figures:
    good: int = 0
    bad: int = 0
    answered: int = 0
    """Good requests with 200."""
    personal: int = 0
    degraded: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    layers: Counter[int] = field(default_factory=Counter)
    receipts: dict[str, Receipt] = field(default_factory=dict)
    """By request id, of every personal answer."""
    shown: dict[str, bool] = field(default_factory=dict)
    """By prediction id: whether the answer had a personal item."""
    unanswered_sets: int = 0
    """Entries of requests that were told they are not recorded: durable all the same, and nobody saw an answer."""
    verdict: str = ""

    def __str__(self) -> str:
        """What a run is judged by; each status and code with its count."""
        lines = [
            f"{self.good} good and {self.bad} bad requests",
            f"answered {self.answered} of {self.good} good ({self.answered / self.good:.3%})",
            f"personal, with receipt {self.personal}; degraded {self.degraded}; verification {self.verdict}",
            f"recorded though the caller was told otherwise: {self.unanswered_sets} (complete, and never shown)",
            f"task answers by layer: {dict(sorted(self.layers.items()))}",
            *(f"  {count:6} {outcome}" for outcome, count in self.outcomes.most_common()),
        ]
        return "\n".join(lines)


class Storm:
    """One world and its weather."""

    def __init__(self, bank: RunContext, folder: Path, seed: int) -> None:
        self.world, self.dice, self.figures = World(bank, folder), random.Random(seed), Figures()
        self.bad_tables: dict[str, str] = {}
        self.world.before_reads(self._before_read)
        self.sinks = self.world.record_stores()
        for sink in self.sinks:
            sink.fails = self._sink_fails(sink)
        self.sink_state = ["up", "up"]
        self._weather_of_models()
        for i in range(1, CUSTOMERS + 1, 2):
            subject = self.world.release.subject(f"c{i}")
            self.world.start().tables.record_assessment(subject, 1 + i % 5, self.world.release.now.date())

    def run(self, requests: int) -> Figures:
        for number in range(requests):
            self._turn_weather(number)
            self._ask(number)
        self._check()
        return self.figures

    def _turn_weather(self, number: int) -> None:
        """Every part changes its state by itself: bad with a small probability, good again with a larger one."""
        dice = self.dice
        for name in READS:
            if name in self.bad_tables:
                if dice.random() < 0.3:
                    del self.bad_tables[name]
            elif dice.random() < 0.01:
                self.bad_tables[name] = dice.choice(["refuses", "garbage", "slow"])
        for i, state in enumerate(self.sink_state):
            if state == "up" and dice.random() < 0.02:
                self.sink_state[i] = dice.choice(["refuses", "times out", "keeps", "flickers"])
            elif state != "up" and dice.random() < 0.25:
                self.sink_state[i] = "up"
            self.sinks[i].keeps = self.sink_state[i] in ("keeps", "flickers")
        self.model_fails = dice.choice(["refuses", "no number", "slow"]) if dice.random() < 0.05 else ""
        if dice.random() < 0.01:
            self._switch(number)
        if dice.random() < 0.1:
            self.world.sql("state", "UPDATE kill_switch SET active = 0")
        if dice.random() < 0.002:
            self.world.sql("state", "DELETE FROM optout")
        if dice.random() < 0.02:
            subject = self.world.release.subject(f"c{dice.randint(1, CUSTOMERS)}")
            sql = "INSERT OR REPLACE INTO optout VALUES (?, ?, '2026-11-01')"
            self.world.sql("state", sql, subject, dice.choice([None, "disable", "human_review", "nonsense"]))
        if dice.random() < 0.005:
            self._damage_row()
        if dice.random() < 0.02:
            self.world.later(hours=dice.choice([-1, 1]))
        self.world.seconds += dice.random() * 2

    def _switch(self, number: int) -> None:
        scope, target = self.dice.choice([("global", "*"), ("task", "churn_signal"), ("cluster", "x")])
        fallback = self.dice.choice(["rule_based", "disable", "previous_model"])
        sql = "INSERT INTO kill_switch VALUES (?, ?, ?, ?, 1, 1)"
        self.world.sql("state", sql, f"sw{number}", scope, target, fallback)

    def _damage_row(self) -> None:
        column, value = self.dice.choice(
            [("features", b"1234"), ("held", "no list"), ("held", "5"), ("age", "old"), ("income", "rich"),
             ("protected", "{"), ("protected", "[1]"), ("gates", b"12345678"), ("snapshot_date", "soon")]
        )  # fmt: skip
        subject = self.world.release.subject(f"c{self.dice.randint(1, CUSTOMERS)}")
        self.world.sql("feature_rows", f"UPDATE feature_row SET {column} = ? WHERE subject_ref = ?", value, subject)

    def _before_read(self, name: str) -> None:
        state = self.bad_tables.get(name)
        if state == "slow":
            self.world.seconds += READ_TIMEOUT_S * self.dice.random()
        elif state == "refuses":
            self.world.seconds += READ_TIMEOUT_S
            raise TableUnreadable(f"{name}: no answer in time")
        elif state == "garbage":
            raise ValueError("what is stored here is no number")

    def _sink_fails(self, sink: Sink) -> Callable[[], None]:
        def fail() -> None:
            state = self.sink_state[self.sinks.index(sink)]
            if state == "up" or (state == "flickers" and self.dice.random() < 0.3):
                return
            if state != "refuses":
                self.world.seconds += APPEND_TIMEOUT_S
            raise StoreError(f"the store {state}")

        return fail

    def _weather_of_models(self) -> None:
        self.model_fails = ""
        predictor: Any = self.world.start().policy.models.predictor
        inner = predictor.predict

        def predict(student: Any, row: Any) -> Any:
            if self.model_fails and self.dice.random() < 0.3:
                if self.model_fails == "slow":
                    self.world.seconds += 0.5
                else:
                    refused = self.model_fails == "refuses"
                    raise LibraryFailed("refused") if refused else PredictionRefused("NON_FINITE", student.task)
            return inner(student, row)

        predictor.predict = predict

    def _ask(self, number: int) -> None:
        world, figures = self.world, self.figures
        body, good = self._body(number)
        self.world.remaining_ms = world.seconds * 1000 + FUNCTION_MS
        response = respond(local.event(body), lambda: world.service, world)
        http, answer = contract.checked(response["statusCode"], json.loads(response["body"]))
        figures.good, figures.bad = figures.good + good, figures.bad + (not good)
        if http != 200:
            figures.outcomes[f"{http} {answer['error']['code']}"] += 1
            return
        assert good, body
        figures.answered += 1
        figures.outcomes[f"200 {answer['status']}{'' if answer['receipt'] else ', no receipt'}"] += 1
        figures.degraded += answer["flags"]["degraded"]
        figures.layers.update(task["layer"] for task in answer["tasks"].values())
        if answer["receipt"]:
            figures.personal += 1
            figures.shown[answer["prediction_id"]] = bool(answer["items"]) and answer["status"] != "static_content"
            figures.receipts[answer["request_id"]] = Receipt(origin=record.origin(world.settings), **answer["receipt"])

    def _body(self, number: int) -> tuple[dict[str, Any], bool]:
        dice = self.dice
        body = {**BODY, "customer_id": f"c{dice.randint(1, CUSTOMERS + 5)}"}
        if dice.random() < 0.5:
            body = {"customer_id": body["customer_id"], "access_reason": "self_service"}
            body["channel"] = dice.choice(["web", "email", "sms", "app_push"])
        if dice.random() < 0.1:
            body["idempotency_key"] = f"key-{number}"
        if dice.random() < 0.1:
            wrong: list[Mapping[str, Any]] = [
                {"k": 9},
                {"channel": "fax"},
                {"customer_id": ""},
                {"mood": 1},
                {"tasks": ["x"]},
            ]
            return {**body, **dice.choice(wrong)}, False
        return body, True

    def _check(self) -> None:
        """Each personal answer is recorded once, whole, and where its receipt says; the record verifies."""
        settings, figures = self.world.settings, self.figures
        self.sink_state[:] = ["up", "up"]
        by_request: dict[str, list[str]] = {}
        delivered: dict[str | None, Any] = {}
        for row in session.rows(settings):
            if row.header["event"] == "guardrail":
                delivered[row.header["prediction_id"]] = row.payload["delivered"]
            if row.header["request_id"]:
                by_request.setdefault(row.header["request_id"], []).append(row.header["event"])
        assert all(sorted(events) == EVENTS for events in by_request.values())
        assert not figures.receipts.keys() - by_request.keys()
        assert {name: delivered[name] for name in figures.shown} == figures.shown
        figures.unanswered_sets = len(by_request.keys() - figures.receipts.keys())
        checkpoint.seal(settings)
        receipts = list(figures.receipts.values())
        figures.verdict = verify.examine(settings, receipts, with_store=False).verdict


def storm(bank: RunContext, folder: Path, seed: int, requests: int) -> Figures:
    weather = Storm(bank, folder, seed)
    try:
        return weather.run(requests)
    finally:
        weather.world.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "storm").mkdir()
        found = storm(make_bank(Path(folder) / "bank"), Path(folder) / "storm", asked.seed, asked.requests)
    print(f"seed {asked.seed}: {found}")


if __name__ == "__main__":
    main()
