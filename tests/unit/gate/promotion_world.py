"""A small bank at the gate: packages that can be registered, rows that can be scored, everything else real."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline_lib.audit import evidence, segment, session
from pipeline_lib.audit.segment import Entry
from pipeline_lib.canonical import canonical_bytes, with_decimals
from pipeline_lib.gate import decide, force, signoff
from pipeline_lib.gate.hooks import Hook
from pipeline_lib.keys import KeyFolder
from pipeline_lib.publish import release as releases
from pipeline_lib.publish.tables import create_state
from pipeline_lib.publish.targets.local_target import LocalTarget
from pipeline_lib.records import Decision, Receipt
from pipeline_lib.registry import decisions, effective, pointer, states, versions
from pipeline_lib.registry.pointer import Seen
from pipeline_lib.runs import Out, RunContext, StageOutput
from pipeline_lib.settings import Settings

ROWS = 1200
POLICY: dict[str, Any] = {"promotion": {"min_gate_rows": 500, "min_positives": 30}}
MONDAY = date(2026, 11, 2)
BINARY = ("churn_signal", "will_acquire_deposits", "will_acquire_investments", "will_acquire_accounts",
          "will_acquire_lending", "will_acquire_payments", "top_mcc_shift")  # fmt: skip
CLASSES = {"segment_prediction": 3, "nba_primary": 4, "next_mcc": 5}
REGRESSION = ("product_stability", "cross_sell_count", "mcc_diversity_trend")
WEAK, STRONG = 0.6, 1.6
"""How much of the truth a model's outputs carry: AUC of about 0.66 and 0.87."""


@dataclass
class Tweaks:
    """How one package and its outputs differ from a good one."""

    strength: float = STRONG
    task_strength: dict[str, float] = field(default_factory=dict)
    fidelity: dict[str, str] = field(default_factory=dict)
    kl: dict[str, float | None] = field(default_factory=dict)
    failing: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Task -> missed criteria of its fidelity report."""
    by_rules: tuple[str, ...] = ()
    classes: dict[str, int] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    state: str = "complete"
    nan_in: str | None = None
    seed: int = 1


@dataclass
class World:
    settings: Settings
    monday: date = MONDAY
    positives: dict[str, float] = field(default_factory=dict)

    @property
    def ctx(self) -> RunContext:
        return RunContext.open(self.settings, self.monday)

    @property
    def keys(self) -> KeyFolder:
        return KeyFolder(self.settings.place.keys)

    @property
    def target(self) -> LocalTarget:
        return LocalTarget(Path(self.settings.place.target.removeprefix("file://")))

    @property
    def seen(self) -> Seen:
        return pointer.read(self.ctx.objects, self.keys)

    def next_week(self) -> None:
        self.monday += timedelta(days=7)

    def package(self, tweaks: Tweaks, tmp: Path) -> StageOutput:
        """Register a version and finish the stages before ``score``."""
        folder = tmp / f"package-{self.monday}-{tweaks.seed}"
        manifest = write_package(folder, self.monday, tweaks, self.keys)
        registered = versions.register(self.ctx.objects, self.keys, folder)

        def make(out: Out) -> None:
            out.facts |= {"version": manifest["version"], "manifest_sha256": registered.sha256}

        sources = {"package": registered.sha256}
        create_state(self.ctx)
        self.ctx.produce("labels", lambda out: truth(self.positives).write_parquet(out.path("label_table.parquet")))
        return self.ctx.produce("package", make, sources=sources)

    def score(self, challenger: Tweaks, champion: Tweaks | None) -> StageOutput:
        seen = self.seen

        def make(out: Out) -> None:
            outputs(challenger, self.positives).write_parquet(out.path("challenger.parquet"))
            if champion is not None:
                outputs(champion, self.positives).write_parquet(out.path("champion.parquet"))
            out.facts |= {"champion": seen.version, "champion_generation": seen.generation, "bundle_digest": "b"}

        made_for = {"for": f"{seen.version}@{seen.generation}@{challenger!r}@{champion!r}"}
        return self.ctx.produce("score", make, [self.ctx.read("package")], made_for)

    def judge(self, mode: decide.Mode = "evaluate", **options: Any) -> Mapping[str, Any]:
        return decide.decide(self.ctx, mode, **{"promotable": True, **options}).facts

    def bootstrap(self, tmp: Path, tweaks: Tweaks | None = None) -> str:
        """A first champion, released."""
        tweaks = tweaks or Tweaks(strength=WEAK)
        version = str(self.package(tweaks, tmp).facts["version"])
        self.score(tweaks, None)
        assert self.judge()["decision"] == "bootstrap"
        releases.publish(self.ctx)
        return version

    def challenge(self, tmp: Path, tweaks: Tweaks | None = None, champion: Tweaks | None = None) -> str:
        """A challenger for next Monday, scored against the champion and not yet judged."""
        self.next_week()
        tweaks = tweaks or Tweaks()
        version = str(self.package(tweaks, tmp).facts["version"])
        self.score(tweaks, champion or Tweaks(strength=WEAK))
        return version

    def await_approval(self, tmp: Path, **options: Any) -> tuple[str, str]:
        """A cleared challenger and its open question: version and decision id."""
        version = self.challenge(tmp)
        facts = self.judge(**options)
        assert (facts["decision"], facts["reason_code"]) == ("await_signoff", "PASSED")
        signoff.open_approval(self.settings, facts["decision_id"])
        return version, facts["decision_id"]

    def approve(self, decision_id: str, responder: str | None = "risk.officer", **options: Any) -> Decision:
        return signoff.conclude(
            self.settings, decision_id, "Approve", responder, "Comparison and fidelity reviewed", **options
        )

    def promote(self, tmp: Path) -> str:
        """A second champion by approval, released."""
        version, decision_id = self.await_approval(tmp)
        self.approve(decision_id)
        releases.publish(self.ctx)
        return version

    def force(self, version: str, **options: Any) -> tuple[Decision, Receipt]:
        given: dict[str, Any] = {
            "operator": "on.call",
            "reason": "Disparate impact breach on lending since 02:40",
            "request_id": "req-1",
        }
        given |= {"approver_signed_in": True} if "approver" in options else {}
        return force.force_promote(self.settings, version, **{**given, **options})

    def rows(self, event: str) -> list[session.StoredRow]:
        """In the order of time; the record itself is read chain by chain."""
        found = [row for row in session.rows(self.settings) if row.header["event"] == event]
        return sorted(found, key=lambda row: str(row.header["ts"]))

    def state(self, version: str) -> str:
        return str(states.read(self.ctx.objects, version)["state"])

    def served_since(self, version: str, hours: float) -> None:
        """Pretend that the version became champion so much earlier: the record is written again, under its key."""
        for effect in effective.read(self.settings).effects:
            if effect.version == version:
                self._redate(effect, hours)

    def retired_since(self, version: str, hours: float) -> None:
        """Pretend that the whole reign of the version, and so the beginning of the next, lay so much earlier."""
        effects = effective.read(self.settings).effects
        for effect, before in zip(effects, [None, *effects], strict=False):
            if version in (effect.version, before and before.version):
                self._redate(effect, hours)

    def _redate(self, effect: effective.Effect, hours: float) -> None:
        store = session.store(self.settings)
        about = row_is("manifest_swap", phase="done")
        for identity, names in evidence.chains(store, session.origin(self.settings)).items():
            data = store.get(names[0])
            head = identity.start(self.keys.audit_root(segment.key_id(data)))
            found, *_ = segment.check(identity, head, data)[0]
            row = session.StoredRow.of(found)
            if not about(row) or row.payload["details"]["decision_id"] != effect.stored.decision.decision_id:
                continue
            salt = row.payload.pop("salt")
            entry = Entry(found.log_table, found.event, row.payload, found.idem, found.request_id, found.prediction_id)
            us = segment.micros(found.ts) - round(hours * 3600e6)
            again, _ = segment.build(identity, head, [entry], key_id=found.key_id, now_us=us, clock="ok", salts=[salt])
            store.put(names[0], again)

    def stored(self, decision_id: str) -> decisions.StoredDecision:
        return decisions.get(self.ctx.objects, decision_id)

    def switch(self, scope: str, on: bool = True) -> None:
        """Fire or clear a kill switch, as oversight does."""
        path = self.ctx.objects.local_path("serving/synthetic/state.sqlite")
        with closing(sqlite3.connect(path)) as database, database:
            row = (f"ks-{scope}", scope, "*", "rules", int(on), 1)
            database.execute("INSERT OR REPLACE INTO kill_switch VALUES (?, ?, ?, ?, ?, ?)", row)

    def with_policy(self, **promotion: Any) -> World:
        """The same place under another policy."""
        changed = self.settings.promotion.model_copy(update=promotion)
        return replace(self, settings=self.settings.model_copy(update={"promotion": changed}))


def write_package(folder: Path, monday: date, tweaks: Tweaks, keys: KeyFolder) -> dict[str, Any]:
    """A signed package folder with a manifest as the packager writes it."""
    tasks = [
        _task(name, tweaks) for name in (*BINARY, *CLASSES, *REGRESSION, *tweaks.extra) if name not in tweaks.without
    ]
    reports = {
        t["name"]: {
            "metrics": {"kl": tweaks.kl.get(t["name"], 0.05)},
            "failing": tweaks.failing.get(t["name"], []),
        }
        for t in tasks
        if t["route"] == "distil"
    }
    content = {"reports/fidelity.json": json.dumps({"tasks": reports}).encode()}
    content |= {f"students/{t['name']}/model.txt": b"tree\nversion=v4\n" for t in tasks if t["serve_layer"] < 3}
    body = {
        "logical_date": monday.isoformat(),
        "data_snapshot_id": "d" * 64,
        "tasks": tasks,
        "fidelity_summary": {"verdicts": {t["name"]: t["fidelity"] for t in tasks if t["fidelity"] != "none"}},
        "drift_summary": None,
        "files": [
            {"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for path, data in sorted(content.items())
        ],
        "total_bytes": sum(map(len, content.values())),
        "package_state": tweaks.state,
        "seed": tweaks.seed,
    }
    unique = hashlib.sha256(canonical_bytes(with_decimals(body))).hexdigest()[:8]
    manifest = {"version": f"v{monday:%Y%m%d}-{unique}", **body}
    data = canonical_bytes(with_decimals(manifest)) + b"\n"
    for path, bytes_ in {**content, "manifest.json": data, "manifest.sig": versions.sign_manifest(keys, data)}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(bytes_)
    return manifest


def truth(positives: Mapping[str, float]) -> pl.DataFrame:
    """Labels of ``ROWS`` customers at one cutoff; rate of a binary task as given, else 0.3."""
    columns = {name: (_latent(name) > _cut(positives.get(name, 0.3))).astype(np.int16) for name in BINARY}
    columns |= {name: _class_of(name, k).astype(np.int16) for name, k in CLASSES.items()}
    columns |= {name: _latent(name) for name in REGRESSION}
    mature = pl.Series(["mature"] * ROWS)
    return _rows().with_columns(label_status=mature, **{n: pl.Series(v) for n, v in columns.items()})


def outputs(tweaks: Tweaks, positives: Mapping[str, float]) -> pl.DataFrame:
    """Served outputs that carry ``strength`` of the truth, and none for tasks answered by rules."""
    columns: dict[str, pl.Series] = {}
    for name in (*BINARY, *REGRESSION, *CLASSES):
        if name in tweaks.by_rules or name in tweaks.without:
            continue
        strength = tweaks.task_strength.get(name, tweaks.strength)
        random = np.random.default_rng([sum(map(ord, name)), tweaks.seed])
        noise = random.normal(size=ROWS)
        signal = (strength * _latent(name) + noise) / np.hypot(strength, 1)
        if name in CLASSES:
            k = tweaks.classes.get(name, CLASSES[name])
            known = random.uniform(size=ROWS) < strength / 2
            chosen = np.where(known, _class_of(name, CLASSES[name]), np.arange(ROWS) % k)
            columns |= {f"s_{name}_{c}": pl.Series((chosen == c).astype(float)) for c in range(k)}
        else:
            shrunk = signal if name in BINARY else signal * strength / np.hypot(strength, 1)
            columns[f"s_{name}"] = pl.Series(np.where(name == tweaks.nan_in, np.nan, shrunk))
    return _rows().with_columns(**columns)


def row_is(event: str, **payload: Any) -> Callable[[session.StoredRow], bool]:
    return lambda row: row.header["event"] == event and payload.items() <= row.payload.items()


def hook(name: str, answer: Any) -> Hook:
    def ask(version: str) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Hook(name, ask)


def later(**delta: float) -> datetime:
    return datetime.now(UTC) + timedelta(**delta)


def _task(name: str, tweaks: Tweaks) -> dict[str, Any]:
    kind = "multiclass" if name in CLASSES else "regression" if name in REGRESSION else "binary"
    rules = name in tweaks.by_rules
    count = tweaks.classes.get(name, CLASSES.get(name, 0))
    verdict = tweaks.fidelity.get(name, "rules" if rules else "pass")
    return {
        "name": name,
        "type": kind,
        "class_names": [f"class_{k}" for k in range(count)],
        "route": "rules" if rules else "distil",
        "serve_layer": 3 if rules else 1,
        "fidelity": verdict,
    }


def _rows() -> pl.DataFrame:
    keys = pl.Series("customer_key", np.arange(ROWS), dtype=pl.Int32)
    return pl.DataFrame({"customer_key": keys}).with_columns(cutoff_date=pl.lit(date(2026, 9, 30)))


def _latent(name: str) -> Any:
    return np.random.default_rng([sum(map(ord, name)), 7]).normal(size=ROWS)


def _cut(rate: float) -> float:
    return float(np.quantile(np.random.default_rng(0).normal(size=100_000), 1 - rate))


def _class_of(name: str, k: int) -> Any:
    return np.argsort(np.argsort(_latent(name))) * k // ROWS
