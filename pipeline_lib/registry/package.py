"""A version's manifest, read once into typed values. Layout: distillation.md section 13."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline_lib.errors import ManifestMismatch

FIDELITY_REPORT = "reports/fidelity.json"
BASELINE = "reports/baseline.json"
"""How the features were spread when the version was made."""
BY_RULES = 3
"""Serve layer without a model. Source: serving.md section 4."""


@dataclass(frozen=True)
class Missed:
    """One fidelity criterion that a task did not meet; ``value`` None: it could not be measured."""

    criterion: str
    value: float | None
    limit: float
    sense: str
    """``<=`` or ``>=``: how the value should stand to the limit."""


@dataclass(frozen=True)
class PackagedTask:
    """One task as the package serves it."""

    name: str
    kind: str
    classes: tuple[str, ...]
    route: str
    layer: int
    """1 distilled, 2 hard-label model, 3 rules: what answers after the routing and the fidelity verdict."""
    fidelity: str | None
    """``pass``, ``fail``, ``exempt``, ``rules``; None when the manifest has no verdict."""
    kl: float | None
    """Divergence from the teacher [nat]; None when it was not measured."""
    failing: tuple[Missed, ...] = ()
    """The blocking criteria of fidelity that the report says were missed."""

    @property
    def has_model(self) -> bool:
        return self.layer < BY_RULES

    @property
    def model_path(self) -> str:
        """File of the model that answers; the twin's when a distilled student failed."""
        is_twin = self.route == "distil" and self.layer > 1
        return f"students/{self.name}/{'direct' if is_twin else 'model'}.txt"


@dataclass(frozen=True)
class Package:
    version: str
    sha256: str
    """Hex SHA-256 of the exact manifest bytes: the identity of the package."""
    state: str
    tasks: Mapping[str, PackagedTask]
    files: Mapping[str, str]
    """Path -> hex SHA-256 of every file but the manifest and its signature."""
    total_bytes: int
    body: Mapping[str, Any]


def read_manifest(data: bytes, where: str, fidelity: bytes | None = None) -> Package:
    """Parse exact manifest bytes.

    Args:
        fidelity: bytes of ``reports/fidelity.json``, which holds the statistics behind the verdicts.

    Raises:
        ManifestMismatch: the bytes are no package manifest.
    """
    try:
        body = json.loads(data)
        verdicts = body["fidelity_summary"].get("verdicts", {})
        reports = json.loads(fidelity)["tasks"] if fidelity else {}
        return Package(
            version=str(body["version"]),
            sha256=hashlib.sha256(data).hexdigest(),
            state=str(body["package_state"]),
            tasks={t["name"]: _task(t, verdicts.get(t["name"]), reports.get(t["name"], {})) for t in body["tasks"]},
            files={str(file["path"]): str(file["sha256"]) for file in body["files"]},
            total_bytes=int(body["total_bytes"]),
            body=body,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ManifestMismatch(f"{where} is no package manifest: {type(error).__name__} {error}") from error


def _task(task: Mapping[str, Any], verdict: str | None, report: Mapping[str, Any]) -> PackagedTask:
    kl = report.get("metrics", {}).get("kl")
    return PackagedTask(
        name=str(task["name"]),
        kind=str(task["type"]),
        classes=tuple(str(name) for name in task.get("class_names") or ()),
        route=str(task["route"]),
        layer=int(task["serve_layer"]),
        fidelity=verdict,
        kl=None if kl is None else float(kl),
        failing=tuple(_missed(miss) for miss in report.get("failing", ())),
    )


def _missed(miss: Mapping[str, Any]) -> Missed:
    value = miss["value"]
    return Missed(
        str(miss["criterion"]), None if value is None else float(value), float(miss["limit"]), str(miss["sense"])
    )
