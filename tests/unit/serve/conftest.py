"""A tiny bank whose upstream stages are fabricated, packaged by the real packager, and a function that serves it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest

from pipeline_lib import settings as settings_module
from pipeline_lib import signing
from pipeline_lib.keys import KeyFolder, subject_ref
from pipeline_lib.publish import package
from pipeline_lib.registry import versions
from pipeline_lib.runs import Out, RunContext
from pipeline_lib.serve.handler import open_service
from pipeline_lib.serve.service import Service
from pipeline_lib.settings import Place

DAY = date(2026, 11, 16)
NEWEST = date(2026, 10, 28)
CUTOFF = date(2026, 8, 28)
CUSTOMERS = 240
FEATURES = {
    "age": "demographics",
    "num_products": "demographics",
    "tenure_months": "demographics",
    "hold_saving": "product_holdings",
    "hold_checking": "product_holdings",
    "hold_deposit_short": "product_holdings",
    "monthly_txns": "txn_behavior",
    "monthly_spend": "txn_behavior",
    "recency_days": "txn_behavior",
    "roll_30d_sum": "txn_rolling",
    "roll_90d_sum": "txn_rolling",
    "roll_180d_sum": "txn_rolling",
    "roll_30d_count": "txn_rolling",
    "roll_90d_count": "txn_rolling",
    "roll_180d_count": "txn_rolling",
}
NAMES = list(FEATURES)
PARAMS = {"num_leaves": 7, "min_child_samples": 10, "num_threads": 1, "verbosity": -1, "deterministic": True, "seed": 1}
EXPERTS = ["deepfm", "temporal", "lightgcn"]


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    """A packaged run, shared by read-only tests."""
    return make_bank(tmp_path_factory.mktemp("bank"))


@pytest.fixture
def own_bank(tmp_path: Path) -> RunContext:
    """A packaged run of one's own, to be changed."""
    return make_bank(tmp_path)


@pytest.fixture
def release(bank: RunContext, tmp_path: Path) -> Release:
    """A released folder with tables and keys of one's own."""
    return Release.of(bank, tmp_path)


class Release:
    """A released folder, its tables, and services over them."""

    def __init__(self, bank: RunContext, folder: Path) -> None:
        self.bank, self.folder = bank, folder / "release"
        self.tables, self.audit = folder / "tables", folder / "audit"
        self.now = datetime(DAY.year, DAY.month, DAY.day, 3, tzinfo=UTC)

    @classmethod
    def of(cls, bank: RunContext, folder: Path) -> Release:
        made = cls(bank, folder)
        facts = bank.read("package").facts
        versions.load(bank.objects, KeyFolder(bank.settings.place.keys), facts["version"], made.folder)
        made.tables.mkdir()
        for name in ("feature_rows", "state"):
            source = bank.objects.local_path(f"serving/{bank.dataset}/{name}.sqlite")
            (made.tables / f"{name}.sqlite").write_bytes(source.read_bytes())
        return made

    def environment(self, **changed: str) -> dict[str, str]:
        return {
            "SERVE_BUNDLE": str(self.folder),
            "SERVE_MANIFEST_SHA256": self.bank.read("package").facts["manifest_sha256"],
            "SERVE_TABLES": f"file://{self.tables}",
            "SERVE_AUDIT": f"file://{self.audit}",
            "SERVE_KEYS": str(self.bank.settings.place.keys),
            "SERVE_ORIGIN": "bank.example/audit/test",
            "SERVE_KEY_ID": "k-test-01",
            "SERVE_ENV": "local",
            **changed,
        }

    def service(self, **changed: str) -> Service:
        made = open_service(self.environment(**changed))
        made.now = lambda: self.now
        return made

    def subject(self, customer_id: str) -> str:
        return subject_ref(KeyFolder(self.bank.settings.place.keys).pepper(), customer_id)

    def lines(self) -> list[list[dict[str, Any]]]:
        """Segments of the record, oldest first, each a list of stored entries."""
        paths = sorted(self.audit.rglob("*.jsonl"))
        return [[json.loads(line) for line in path.read_text().splitlines()] for path in paths]


@pytest.fixture
def request_body() -> Callable[..., dict[str, Any]]:
    """A valid teller's request, with changes; a value of None removes the field."""

    def make(**changed: Any) -> dict[str, Any]:
        body = {
            "customer_id": "c5",
            "channel": "branch",
            "access_reason": "branch_initiated",
            "operator_id": "teller-1",
            "terminal_id": "t-1",
            **changed,
        }
        return {name: value for name, value in body.items() if value is not None}

    return make


def make_bank(home: Path) -> RunContext:
    made = settings_module.load("synthetic", Place(dataset="synthetic", home=home, threads=1))
    keys = KeyFolder(made.place.keys)
    for key_id in ("k-test-01", made.audit.key_id):
        keys.create_secrets(key_id)
    signing.create_keys(keys)
    ctx = RunContext.open(made, DAY)
    fabricate(ctx, keys)
    package.package(ctx)
    return ctx


def fabricate(ctx: RunContext, keys: KeyFolder) -> None:
    """Upstream stages with the files, columns and facts of docs/artefacts.md."""
    frame = matrix()
    ingest = ctx.produce("ingest", lambda out: _ingest(ctx, out))
    labels = ctx.produce("labels", lambda out: _labels(out, frame), [ingest])
    features = ctx.produce("features", lambda out: _features(out, frame), [labels])
    teacher = ctx.produce("teacher", lambda out: _teacher(out, frame), [features])
    students = [
        ctx.produce(f"student.{task}", lambda out, t=task: _student(out, t, frame), [teacher])  # type: ignore[misc]
        for task in STUDENTS
    ]
    ctx.produce("distill", lambda out: _distill(ctx, out), [labels, *students])
    _index(ctx, keys)


def matrix() -> pl.DataFrame:
    """Raw features, half fit at CUTOFF, a quarter gate, and everybody again as ``serve``; NaN where undefined."""
    rng = np.random.default_rng(7)
    x = np.abs(rng.normal(20, 12, (CUSTOMERS, len(NAMES)))).astype(np.float32)
    x[:, 3:6] = rng.integers(0, 2, (CUSTOMERS, 3))
    x[:, 1] = x[:, 3:6].sum(1)
    missing = rng.random((CUSTOMERS, 7)) < 0.15
    x[:, 8:][missing] = np.nan
    parts = np.where(np.arange(CUSTOMERS) < CUSTOMERS // 2, "fit", "gate")

    def rows(part: list[str], cutoff: date) -> pl.DataFrame:
        keys = pl.DataFrame(
            {"customer_key": np.arange(1, CUSTOMERS + 1, dtype=np.int32), "cutoff_date": [cutoff] * CUSTOMERS}
        )
        columns = {name: x[:, i] for i, name in enumerate(NAMES)}
        split = ["serve" if p == "serve" else "train" if p == "fit" else "test" for p in part]
        return keys.with_columns(split=pl.Series(split), part=pl.Series(part)).with_columns(
            *(pl.Series(name, values) for name, values in columns.items())
        )

    return pl.concat([rows(list(parts), CUTOFF), rows(["serve"] * CUSTOMERS, NEWEST)])


def design(frame: pl.DataFrame, part: str) -> np.ndarray:
    return frame.filter(pl.col("part") == part).select(NAMES).to_numpy().astype(np.float32)


STUDENTS = {
    "churn_signal": "binary",
    "nba_primary": "multiclass",
    "product_stability": "regression",
    "will_acquire_deposits": "binary",
    "top_mcc_shift": "binary",
    "segment_prediction": "multiclass",
}
"""Tasks with a student stage; the others are disabled."""
ROUTES = {"product_stability": "direct", "top_mcc_shift": "rules", "segment_prediction": "direct"}
CLASSES = {
    "nba_primary": [
        "none",
        "savings_guarantee",
        "checking_accounts",
        "deposits",
        "investments",
        "credit_loans",
        "debits",
    ],
    "segment_prediction": ["TOP", "PARTICULARES", "UNIVERSITARIO"],
}


def targets(task: str, x: np.ndarray) -> np.ndarray:
    """A label the features say something about."""
    rng = np.random.default_rng(abs(hash_of(task)) % 2**32)
    signal = np.nan_to_num(x[:, 9], nan=35.0) / 20 + x[:, 3] - x[:, 8 if task == "churn_signal" else 6] / 30
    signal = np.nan_to_num(signal, nan=0.5)
    if STUDENTS[task] == "regression":
        return np.clip(0.9 - 0.1 * signal + rng.normal(0, 0.05, len(x)), 0, 0.99)
    if STUDENTS[task] == "binary":
        return (signal + rng.normal(0, 0.5, len(x)) > 0.9).astype(float)
    k = len(CLASSES[task])
    return np.clip(np.floor((signal + rng.normal(0, 0.3, len(x)) + 0.5) * 2), 0, k - 1)


def hash_of(text: str) -> int:
    return int.from_bytes(text.encode()[:7], "big")


def grow(task: str, x: np.ndarray, *, raw: bool) -> tuple[str, dict[str, Any]]:
    """Model text and its entry in student.json; ``raw`` as a custom objective leaves it, else built-in."""
    y, kind = targets(task, x), STUDENTS[task]
    k = len(CLASSES.get(task, [])) if kind == "multiclass" else 1
    objective: Any = {"binary": "binary", "multiclass": "multiclass", "regression": "regression"}[kind]
    params: dict[str, Any] = {**PARAMS, "objective": _gradients(y, k) if raw else objective}
    if k > 1:
        params["num_class"] = k
    booster = lgb.train(params, lgb.Dataset(x, y, feature_name=NAMES), 8)
    base = [0.25 * i - 0.5 for i in range(k)] if raw and k > 1 else -0.75 if raw else None
    calibrator = {
        "binary": {"kind": "platt", "a": 1.1, "b": -0.2},
        "multiclass": {"kind": "ovr_platt", "a": [1.0 + 0.05 * i for i in range(k)], "b": [0.1] * k},
        "regression": {"kind": "linear", "u": 0.01, "v": 0.98},
    }[kind]
    return booster.model_to_string(), {
        "output_kind": "raw" if raw else "value" if kind == "regression" else "prob",
        "base_score": base,
        "features": NAMES,
        "calibrator": calibrator if task != "segment_prediction" else {"kind": "none"},
        "trees": booster.num_trees(),
        "leaves": 0,
    }


def _gradients(y: np.ndarray, k: int) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    def binary(z: np.ndarray, data: Any) -> tuple[np.ndarray, np.ndarray]:
        p = 1 / (1 + np.exp(-z))
        return p - y, np.maximum(p * (1 - p), 1e-6)

    def multiclass(z: np.ndarray, data: Any) -> tuple[np.ndarray, np.ndarray]:
        e = np.exp(z - z.max(1, keepdims=True))
        p = e / e.sum(1, keepdims=True)
        return p - np.eye(k)[y.astype(int)], np.maximum(p * (1 - p), 1e-6)

    return multiclass if k > 1 else binary


def _student(out: Out, task: str, frame: pl.DataFrame) -> None:
    x, route, kind = design(frame, "fit"), ROUTES.get(task, "distil"), STUDENTS[task]
    y = targets(task, x)
    none = {"output_kind": None, "base_score": None, "features": [], "calibrator": None, "trees": 0, "leaves": 0}
    facts, twin = dict(none), None
    if route != "rules":
        text, facts = grow(task, x, raw=route == "distil")
        out.path("model.txt").write_text(text)
    if route == "distil":
        text, twin = grow(task, x, raw=False)
        out.path("direct.txt").write_text(text)
    shares = [float((y == c).mean()) for c in range(len(CLASSES.get(task, [])))]
    label_range = {"mean": float(y.mean()), "sd": float(y.std()), "q95": 1.0, "low": 0.0, "high": 1.0}
    body = {
        "task": task,
        "kind": kind,
        "classes": CLASSES.get(task, []),
        "route": route,
        "route_reason": "TEACHER_VIABLE" if route == "distil" else "TEACHER_WEAK",
        "base_rate": None if kind == "regression" else shares or float(y.mean()),
        "label_range": label_range if kind == "regression" else None,
        **facts,
        "direct": twin,
    }
    out.path("student.json").write_text(json.dumps(body, sort_keys=True))


def _ingest(ctx: RunContext, out: Out) -> None:
    frame = matrix().filter(pl.col("part") == "serve")
    shorts = [product.short for product in ctx.settings.source.products]
    held = {name: frame[f"hold_{name}"].cast(pl.Int8) for name in ("saving", "checking", "deposit_short")}
    snapshot = frame.select("customer_key").with_columns(
        age=pl.Series([None if i % 11 == 0 else 20 + i % 60 for i in range(CUSTOMERS)], dtype=pl.Int16),
        sex=pl.Series(["F" if i % 2 else "M" for i in range(CUSTOMERS)]),
        income=pl.Series([None if i % 7 == 0 else 10_000.0 + 200 * i for i in range(CUSTOMERS)], dtype=pl.Float64),
        province_id=pl.Series([i % 5 for i in range(CUSTOMERS)], dtype=pl.Int16),
        **{f"prod_{s}": held.get(s, pl.Series([0] * CUSTOMERS, dtype=pl.Int8)) for s in shorts},
    )
    snapshot.write_parquet(out.path(f"customer_snapshot/{NEWEST}.parquet", rows=CUSTOMERS))
    out.facts.update(newest_snapshot=NEWEST.isoformat())


def _labels(out: Out, frame: pl.DataFrame) -> None:
    keys = frame.filter(pl.col("part") != "serve").select("customer_key", "cutoff_date")
    keys.write_parquet(out.path("label_table.parquet", rows=keys.height))
    active = {
        name: {"status": "active", "kind": kind, "classes": CLASSES.get(name, [])} for name, kind in STUDENTS.items()
    }
    out.facts.update(tasks=active)


def _features(out: Out, frame: pl.DataFrame) -> None:
    frame.write_parquet(out.path("feature_matrix.parquet", rows=frame.height))
    columns = [
        {"name": n, "group": g, "kind": "num", "mean": 0.0, "std": 1.0, "fill": 0.0} for n, g in FEATURES.items()
    ]
    out.path("schema.json").write_text(
        json.dumps({"schema_hash": "f" * 64, "artefact_hash": "e" * 64, "columns": columns, "groups": []})
    )


def _teacher(out: Out, frame: pl.DataFrame) -> None:
    keys = frame.filter(pl.col("part") == "serve").select("customer_key", "cutoff_date")
    tasks = pl.DataFrame({"task": list(STUDENTS)})
    weights = {name: pl.lit((0.5, 0.3, 0.2)[i], dtype=pl.Float32) for i, name in enumerate(EXPERTS)}
    gates = keys.join(tasks, how="cross").with_columns(**weights, entropy=pl.lit(1.02, dtype=pl.Float32))
    gates.write_parquet(out.path("gate_weights.parquet", rows=gates.height))
    out.path("checkpoint/weights.safetensors").write_bytes(b"weights")


def _distill(ctx: RunContext, out: Out) -> None:
    verdicts, routes = {}, {}
    for task in ctx.settings.tasks.names():
        route = ROUTES.get(task, "distil") if task in STUDENTS else "rules"
        reason = {"distil": "TEACHER_VIABLE", "direct": "TEACHER_WEAK", "rules": "DISABLED_BY_DATA"}[route]
        routes[task] = {"route": route, "reason": reason}
        verdicts[task] = {"distil": "pass", "direct": "exempt", "rules": "rules"}[route]
    verdicts["will_acquire_deposits"] = "fail"
    reports = {task: {"verdict": verdict, "metrics": {}} for task, verdict in verdicts.items()}
    out.path("fidelity.json").write_text(json.dumps({"tasks": reports}))
    out.path("routing.json").write_text(json.dumps(routes))
    out.facts.update(verdicts=verdicts, incomplete=[], failed=["will_acquire_deposits"])


def _index(ctx: RunContext, keys: KeyFolder) -> None:
    pepper = keys.pepper()
    index = pl.DataFrame(
        {
            "customer_digest": [subject_ref(pepper, f"c{i}") for i in range(1, CUSTOMERS + 1)],
            "customer_key": pl.Series(range(1, CUSTOMERS + 1), dtype=pl.Int32),
        }
    ).sort("customer_digest")
    with ctx.objects.scratch() as folder:
        index.write_parquet(folder / "index.parquet")
        ctx.objects.put_file(f"restricted/{ctx.dataset}/customer_index.parquet", folder / "index.parquet")


@pytest.fixture(scope="session")
def grown() -> dict[tuple[str, bool], tuple[str, dict[str, Any]]]:
    """(task, raw) -> model text and its facts."""
    x = design(matrix(), "fit")
    pairs = [(task, raw) for task in ("churn_signal", "nba_primary") for raw in (True, False)]
    return {(task, raw): grow(task, x, raw=raw) for task, raw in [*pairs, ("product_stability", False)]}


@pytest.fixture(scope="session")
def gate_x() -> np.ndarray:
    """Rows the students never saw; (n, 15) float32 with NaN."""
    return design(matrix(), "gate")


@pytest.fixture(scope="session")
def names() -> list[str]:
    return NAMES


@pytest.fixture(scope="session")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    """The same run in another home, with other secrets."""
    return make_bank(tmp_path_factory.mktemp("again"))
