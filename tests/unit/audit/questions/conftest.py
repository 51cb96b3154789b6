"""A record of a small bank at times of our choosing: releases, answers, switches, and what people did afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib import signing
from pipeline_lib.audit import catalogue, checkpoint, load, record, session, verify
from pipeline_lib.audit.log import Writer
from pipeline_lib.audit.segment import Entry
from pipeline_lib.business_time import SEOUL
from pipeline_lib.keys import KeyFolder, subject_ref
from pipeline_lib.settings import Place, Settings

OPERATOR = "o_" + "5" * 64


def seoul(text: str) -> datetime:
    """``2026-04-15 14:37`` in Seoul."""
    return datetime.fromisoformat(text).replace(tzinfo=SEOUL)


@dataclass
class Bank:
    """Writes rows as the pipeline does, each call as a process of its own, at the time given."""

    settings: Settings
    monkeypatch: pytest.MonkeyPatch
    served: int = 0
    then: int = 0
    """Checkpoint that a test asks about."""
    now: datetime = field(default_factory=lambda: seoul("2026-04-13 03:00"))

    def at(self, when: datetime) -> None:
        """It is this time everywhere in the record."""
        self.now = when
        for module in (checkpoint, load, verify):
            self.monkeypatch.setattr(module, "utc_now", lambda: self.now.astimezone(UTC))

    def write(self, when: datetime, entries: list[Entry], service: str = "serve") -> None:
        us = [int(when.timestamp() * 1_000_000) - 1_000]
        writer = Writer.open(
            record.store(self.settings), KeyFolder(self.settings.place.keys), origin=record.origin(self.settings),
            key_id=self.settings.audit.key_id, service=service, now_us=lambda: us[0],
        )  # fmt: skip
        us[0] += 1_000
        writer.append(entries)

    def operation(self, when: datetime, event: str, **known: Any) -> None:
        common = {"actor_kind": "service", "actor_ref": "test", "phase": "single", "severity": "info"}
        prediction = known.pop("prediction_id", None)
        payload = catalogue.complete("log_operation", {**common, **known})
        idem = f"{event}:{when.isoformat()}:{known.get('object_id')}"
        self.write(when, [Entry("log_operation", event, payload, idem, None, prediction)], "oversight")

    def release(self, when: datetime, version: str, decision: str = "promote", **known: Any) -> None:
        """A verdict, and the pointer moved by it a minute later."""
        decision_id = sha256(version.encode()).hexdigest()[:32]
        common = {
            "decision_id": decision_id, "decision": decision, "challenger_version": version, "trigger": "manual",
            "reason_code": "SIGNED_OFF", "reason": "better on every task", "approver": "risk-1", "auto_promote": False,
            "approvals": [{"actor_ref": "risk-1", "method": "sign_off", "at": when.isoformat()}],
            "gate_path": [{"step": "fidelity", "outcome": "passed"}, {"step": "competition", "outcome": "passed"}],
        }  # fmt: skip
        payload = catalogue.complete("log_model_promotion", {**common, **known})
        entry = Entry("log_model_promotion", "promotion_decision", payload, f"verdict:{version}")
        self.write(when, [entry], "promotion")
        self.operation(
            when + timedelta(minutes=1), "manifest_swap", phase="done", object_type="pointer", object_id=version,
            details={"decision_id": decision_id, "generation": 1, "version": version},
        )  # fmt: skip

    def decide(
        self, when: datetime, customer: str, version: str, *, without: tuple[str, ...] = (), **known: Any
    ) -> str:
        """One answer with its four rows; ``known`` goes into the rows by the name of their table."""
        self.served += 1
        prediction, request = f"{self.served:032x}", f"{self.served + 10_000:032x}"
        rows = _rows(self.subject(customer), version)
        entries = []
        for table, event in _EVENTS:
            if event not in without:
                payload = catalogue.complete(table, {**rows[table], **known.get(event, {})})
                of = None if event == "data_access" else prediction
                entries.append(Entry(table, event, payload, f"{event}:{request}", request, of))
        self.write(when, entries)
        return prediction

    def crowd(self, when: datetime, version: str, answers: int) -> None:
        """Many answers to other customers, as a batch writes them."""
        entries = []
        for _ in range(answers):
            self.served += 1
            prediction, request = f"{self.served:032x}", f"{self.served + 1_000_000:032x}"
            rows = _rows(f"s_{self.served:064x}", version)
            for table, event in _EVENTS:
                of = None if event == "data_access" else prediction
                entries.append(
                    Entry(table, event, catalogue.complete(table, rows[table]), f"{event}:{request}", request, of)
                )
        self.write(when, entries)

    def subject(self, customer: str) -> str:
        return subject_ref(KeyFolder(self.settings.place.keys).pepper(), customer)

    def commit(self, when: datetime) -> int:
        """A checkpoint of that time, loaded into the query tables; its number."""
        self.at(when)
        return int(session.commit(self.settings)["ckpt_n"])


_EVENTS = (
    ("log_data_access", "data_access"),
    ("log_model_inference", "prediction"),
    ("log_attribution", "attribution"),
    ("log_guardrail", "guardrail"),
)
TEXT = "보유하고 계신 상품을 살펴보고 장기 정기예금을 안내해 드립니다."


def _rows(subject: str, version: str) -> dict[str, dict[str, Any]]:
    digest = sha256(version.encode()).hexdigest()
    passed = {"score": "1.000000", "threshold": "1.000000", "verdict": "pass"}
    experts = ("deepfm", "lightgcn", "hgcn", "temporal", "perslay", "causal", "optimal_transport")
    return {
        "log_data_access": {
            "operator_ref": OPERATOR, "operator_kind": "human", "subject_ref": subject, "row_scope": "single",
            "access_reason": "branch_initiated", "purpose": "recommendation", "fields_read": ["optout", "suitability"],
            "row_count": 1, "terminal_ref": "terminal-1", "denied": False,
        },
        "log_model_inference": {
            "subject_ref": subject, "model_version": version, "model_digest": digest, "manifest_hash": digest,
            "layer": "L1_distilled", "feature_schema_version": "a" * 64, "feature_hash": "b" * 64,
            "feature_asof": "2026-04-14", "requester_kind": "human", "requester_ref": OPERATOR, "channel": "branch",
            "access_reason": "branch_initiated", "optout_state": "in", "eligible_n": 2, "filtered_n": 1,
            "filter_reasons": [{"k": "scope", "v": 1}],
            "task_scores": [{"task": "churn_signal", "kind": "binary", "layer": 1, "layer_reason": "MANIFEST",
                             "rule": None, "class": None, "score": "0.100000000", "calibrated": "0.110000000"}],
            "recommended": [
                {"rank": 1, "product_id": "deposit_long", "task": "churn_signal", "score": "0.411615733",
                 "propensity": "1.000000000"},
                {"rank": 2, "product_id": "saving", "task": "churn_signal", "score": "0.310244375",
                 "propensity": "0.000000000"},
            ],
        },
        "log_attribution": {
            "task": "churn_signal", "method": "ceh_batch", "source_asof": "2026-04-15", "source_model_version": version,
            "gates": [{"expert": name, "w": f"0.{at + 10:02}0000000"} for at, name in enumerate(experts)],
            "gate_entropy": "1.720349431", "base_value": "0.038803577", "residual": "0.000000000", "input_dim": 572,
            "reason_layer": "L1", "reason_text_hash": sha256(TEXT.encode()).hexdigest(), "llm_used": False,
            "top_features": [{"feature": "num_products", "contribution": "0.280598211", "rank": 1},
                             {"feature": "avg_amount", "contribution": "-0.100000000", "rank": 2}],
        },
        "log_guardrail": {
            "criteria": {name: passed for name in ("factuality", "hallucination", "regulatory", "suitability", "tone")},
            "verdict": "pass", "edits": [], "keywords_hit": [], "ai_notice_present": True, "tier": 1, "delivered": True,
            "suit": {"caps_hit": [], "product_risk": 1, "review_conditions": [], "subject_tolerance": 3,
                     "verdict": "pass"},
            "ood": {"as_of": "2026-04-15", "distance": "6.311213017", "flag_over": "7.099337852", "level": "normal",
                    "override_over": "7.755396098"},
        },
    }  # fmt: skip


MakeRecord = Callable[[Path], Settings]


@pytest.fixture(scope="session")
def make_record(shipped: Settings) -> MakeRecord:
    """Settings of the record in a folder; its keys are made if they are not there."""

    def make(home: Path) -> Settings:
        place = Place(
            root=f"file://{home}/store", audit=f"file://{home}/audit", anchors=f"file://{home}/anchors",
            query_store=f"{home}/lancedb", keys=home / "keys",
        )  # fmt: skip
        found = shipped.model_copy(update={"place": place})
        keys = KeyFolder(place.keys)
        keys.create_secrets(found.audit.key_id)
        signing.create_keys(keys)
        return found

    return make


@pytest.fixture
def bank(config: Settings, monkeypatch: pytest.MonkeyPatch) -> Bank:
    return Bank(config, monkeypatch)


@pytest.fixture
def when() -> Callable[[str], datetime]:
    return seoul


@pytest.fixture
def operator() -> str:
    return OPERATOR


@pytest.fixture
def delivered_text() -> str:
    """The text whose hash the attribution rows hold."""
    return TEXT
