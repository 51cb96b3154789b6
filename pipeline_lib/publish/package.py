"""One version: the students of a run, their reports and the policy, hashed, signed and registered.

The manifest has no clock, host or path, so the same inputs give the same version. A version is registered even
when fidelity failed, so that failures can be studied: only its state and the verdicts differ. No teacher weights,
Parquet or pickles inside; the teacher is named by hash. Source: distillation.md 13.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from pipeline_lib.canonical import canonical_bytes, digest, with_decimals
from pipeline_lib.errors import ContractError
from pipeline_lib.forest import SUFFIX, library
from pipeline_lib.forest.compiling import compile_text
from pipeline_lib.keys import KeyFolder
from pipeline_lib.manifest import describe
from pipeline_lib.publish import baked, baseline, model_text, tables
from pipeline_lib.registry import versions
from pipeline_lib.registry.package import BASELINE
from pipeline_lib.runs import Out, RunContext, StageOutput, code_version
from pipeline_lib.settings.serving.words import Agreement

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
COMPLETE, INCOMPLETE = "complete", "incomplete"
DISTILLED, DIRECT, RULES = 1, 2, 3


def package(ctx: RunContext) -> StageOutput:
    """Assemble, sign and register the version of this run; refresh the serving tables.

    Raises:
        ContractError: the version is larger than the budget, or a model has trees that serving cannot read.
        ObjectExists: this version is registered with other bytes.
    """
    students = _students(ctx)
    inputs = [ctx.read(stage) for stage in ("ingest", "labels", "features", "teacher", "distill")]
    made = ctx.produce("package", partial(_make, ctx, students), [*inputs, *students.values()])
    tables.export(ctx)
    return made


def _make(ctx: RunContext, students: Mapping[str, StageOutput], out: Out) -> None:
    with ctx.objects.scratch() as folder:
        manifest = _assemble(ctx, students, folder)
        data = canonical_bytes(with_decimals(manifest)) + b"\n"
        _write(folder / versions.MANIFEST, data)
        keys = KeyFolder(ctx.settings.place.keys)
        _write(folder / versions.SIGNATURE, versions.sign_manifest(keys, data))
        registered = versions.register(ctx.objects, keys, folder)
    out.facts.update(
        version=registered.version,
        manifest_sha256=registered.sha256,
        package_state=registered.state,
        bytes=registered.total_bytes,
        serve_layers={task["name"]: task["serve_layer"] for task in manifest["tasks"]},
    )
    log.info("packaged %s (%s), %d bytes", registered.version, registered.state, registered.total_bytes)


def _assemble(ctx: RunContext, students: Mapping[str, StageOutput], folder: Path) -> dict[str, Any]:
    """Write all files but manifest and signature; return the manifest."""
    distill, features, teacher = ctx.read("distill"), ctx.read("features"), ctx.read("teacher")
    schema = _json(features.path("schema.json"))
    for name in ("fidelity.json", "routing.json"):
        _write(folder / "reports" / name, distill.path(name).read_bytes())
    for name, content in baked.policy(ctx.settings, ctx.read("ingest"), schema).items():
        _write(folder / "policy" / f"{name}.json", _json_bytes(content))
    _write(folder / BASELINE, _json_bytes(_baseline(ctx, features, schema)))
    tasks = [_task(ctx, name, students.get(name), folder) for name in ctx.settings.tasks.names()]
    entries = describe(folder, {})
    total = sum(entry.bytes for entry in entries)
    _require_small(total, ctx.settings.serving.max_package_bytes)
    body = {
        "schema_version": SCHEMA_VERSION,
        "dataset": ctx.dataset,
        "logical_date": ctx.logical_date.isoformat(),
        "code_rev": code_version(),
        "config_hash": ctx.settings.config_hash,
        "data_snapshot_id": ctx.read("ingest").content_hash,
        "teacher": _teacher(ctx, teacher),
        "feature_schema_hash": baked.serving_schema_hash(schema),
        "feature_artefact_hash": schema["artefact_hash"],
        "tasks": tasks,
        "fidelity_summary": dict(distill.facts),
        "drift_summary": None,
        "files": [{"path": e.path, "bytes": e.bytes, "sha256": e.sha256} for e in entries],
        "total_bytes": total,
        "lightgbm_version": installed_version("lightgbm"),
        "lightgbm_sha256": library.sha256(found) if (found := library.installed()) else None,
        "package_state": INCOMPLETE if _incomplete(distill, tasks) else COMPLETE,
    }
    return {"version": f"v{ctx.logical_date:%Y%m%d}-{digest(with_decimals(body))[:8]}", **body}


def _task(ctx: RunContext, name: str, student: StageOutput | None, folder: Path) -> dict[str, Any]:
    """Copy one task's files and describe how it is served."""
    labels = ctx.read("labels").facts["tasks"].get(name, {})
    route = _json(ctx.read("distill").path("routing.json")).get(name, {"route": "rules", "reason": "UNDETERMINED"})
    verdict = ctx.read("distill").facts["verdicts"].get(name)
    facts = _copied(student, name, folder) if student else {}
    layer, reason = serve_layer(route["route"], route["reason"], verdict, has_twin=bool(facts.get("direct")))
    served = (facts.get("direct") or {}) if facts.get("route") == "distil" and layer == DIRECT else facts
    kind = ctx.settings.tasks.tasks[name].kind
    classes = list(facts.get("classes") or labels.get("classes") or []) if kind == "multiclass" else []
    label_range = facts.get("label_range")
    return {
        "name": name,
        "type": kind,
        "num_classes": len(classes) or None,
        "class_names": [str(c) for c in classes],
        "route": route["route"],
        "route_reason": route["reason"],
        "serve_layer": layer,
        "serve_reason": reason,
        "output_kind": served.get("output_kind"),
        "base_score": served.get("base_score"),
        "features_ref": f"students/{name}/student.json" if student else None,
        "n_features": len(served.get("features") or []),
        "trees": served.get("trees") or 0,
        "leaves": served.get("leaves") or 0,
        "calibrator": (served.get("calibrator") or {}).get("kind"),
        "base_rate": label_range["mean"] if label_range else facts.get("base_rate", _rate(labels, kind)),
        "normaliser": label_range,
        "explanation": explained(served.get("explanation"), ctx.settings.serving.reasons.agreement),
        "fidelity": verdict,
    }


def _baseline(ctx: RunContext, features: StageOutput, schema: Mapping[str, Any]) -> dict[str, Any]:
    columns = [column["name"] for column in schema["columns"]]
    return baseline.of_features(features, columns, ctx.settings.monitoring.drift.bins)


def explained(found: Mapping[str, Any] | None, limits: Agreement) -> dict[str, Any] | None:
    """How far the contributions that reasons rest on agree with TreeSHAP, and what follows; None = not measured."""
    if found is None:
        return None
    flagged = found["top5_overlap"] < limits.top5
    return {**found, "flagged": flagged, "names": "group" if found["sign_agreement"] < limits.sign else "feature"}


def serve_layer(route: str, reason: str, verdict: str | None, *, has_twin: bool) -> tuple[int, str]:
    """Layer a task is served from, and why. A distilled student that failed fidelity leaves the task to its twin."""
    if route == "distil" and verdict == "pass":
        return DISTILLED, "MANIFEST"
    if route == "distil":
        return (DIRECT, "FIDELITY_FAILED") if has_twin else (RULES, "FIDELITY_FAILED")
    return (DIRECT, reason) if route == "direct" else (RULES, reason)


def _copied(student: StageOutput, name: str, folder: Path) -> dict[str, Any]:
    """``student.json``, the models there are, as trained and compiled, and their inputs; returns the first."""
    facts = _json(student.path("student.json"))
    target, about = folder / "students" / name, {}
    _write(target / "student.json", student.path("student.json").read_bytes())
    for model in ("model", "direct"):
        if f"{model}.txt" in student.names():
            data = student.path(f"{model}.txt").read_bytes()
            _write(target / f"{model}.txt", data)
            text = data.decode("utf-8")
            _write(target / f"{model}{SUFFIX}", compile_text(text, f"{name}/{model}.txt"))
            about[model] = model_text.inputs(text)
    _write(target / "inputs.json", _json_bytes(about))
    return facts


def _students(ctx: RunContext) -> dict[str, StageOutput]:
    """The students this run's distillation was assembled from, by task."""
    used = set(ctx.read("distill").manifest.inputs)
    names = [name for name in ctx.settings.tasks.names() if f"student.{name}" in used]
    return {name: ctx.read(f"student.{name}") for name in names}


def _teacher(ctx: RunContext, teacher: StageOutput) -> dict[str, Any]:
    weights = next((e.sha256 for e in teacher.manifest.outputs if e.path.endswith("weights.safetensors")), None)
    return {
        "version": f"t{ctx.logical_date:%Y%m%d}-{teacher.content_hash[:8]}",
        "uri": f"runs/{ctx.dataset}/{ctx.logical_date.isoformat()}/teacher",
        "sha256": weights,
        "content_hash": teacher.content_hash,
        "metrics": teacher.facts.get("averages"),
    }


def _incomplete(distill: StageOutput, tasks: list[dict[str, Any]]) -> bool:
    without_model = [t for t in tasks if t["route"] != "rules" and t["serve_layer"] < RULES and not t["trees"]]
    undetermined = [t for t in tasks if t["route_reason"] == "UNDETERMINED"]
    return bool(distill.facts["incomplete"] or without_model or undetermined)


def _rate(labels: Mapping[str, Any], kind: str) -> Any:
    """Train rate of a task without a student; None = not known."""
    return labels.get("rate") if kind != "regression" else None


def _require_small(total: int, limit: int) -> None:
    if total > limit:
        raise ContractError(f"the package has {total} bytes uncompressed, at most {limit} are allowed")


def _json(path: Path) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return body


def _json_bytes(value: Any) -> bytes:
    """Sorted keys, shortest exact reals: equal values are equal bytes."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
