"""The saved teacher: ``weights.safetensors`` and ``model.json``, enough to rebuild it and to refuse foreign data.

No pickle. Loading checks the weights' digest and the feature schema's hash, and takes no key that is missing, extra
or of another shape. Source: teacher.md section 16.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from pipeline_lib.errors import ManifestMismatch, SchemaError
from pipeline_lib.settings.teacher import Architecture, Gating
from pipeline_lib.teacher.calibration import Calibrator
from pipeline_lib.teacher.contract import Inputs, TaskSpec
from pipeline_lib.teacher.model import Teacher, build_model

FORMAT = 2
WEIGHTS, MODEL = "weights.safetensors", "model.json"


@dataclass(frozen=True)
class Checkpoint:
    """A trained teacher and what its outputs mean."""

    model: Teacher
    inputs: Inputs
    tasks: Sequence[TaskSpec]
    experts: Sequence[str]
    architecture: Architecture
    gating: Gating
    calibrators: Mapping[str, Calibrator]


def save_checkpoint(checkpoint: Checkpoint, weights: Path, model: Path, stamps: Mapping[str, str]) -> None:
    """Write both files. ``stamps`` (config hash, code version, ...) are stored beside the model."""
    blob = weights_bytes(checkpoint.model)
    body = {
        "format": FORMAT,
        "schema_hash": checkpoint.inputs.schema_hash,
        "weights_sha256": hashlib.sha256(blob).hexdigest(),
        "stamps": dict(stamps),
        "torch": torch.__version__.split("+")[0],
        "inputs": checkpoint.inputs.to_dict(),
        "tasks": [task.to_dict() for task in checkpoint.tasks],
        "experts": list(checkpoint.experts),
        "architecture": checkpoint.architecture.model_dump(mode="json"),
        "gating": checkpoint.gating.model_dump(mode="json"),
        "calibrators": {name: c.to_dict() for name, c in checkpoint.calibrators.items()},
        "parameters": parameter_counts(checkpoint.model),
    }
    weights.write_bytes(blob)
    model.write_bytes(json_bytes(body))


def load_checkpoint(weights: Path, model: Path, schema_hash: str) -> Checkpoint:
    """The teacher, in evaluation mode on the CPU.

    Raises:
        ManifestMismatch: the weights are not the ones the model file was written with.
        SchemaError: the checkpoint was trained on features of another schema, or of another format.
    """
    body = json.loads(model.read_bytes())
    if body["format"] != FORMAT:
        raise SchemaError(f"{model.name}: format {body['format']}, this code reads {FORMAT}")
    if body["schema_hash"] != schema_hash:
        raise SchemaError(f"{model.name}: trained on schema {body['schema_hash']}, the data has {schema_hash}")
    blob = weights.read_bytes()
    if hashlib.sha256(blob).hexdigest() != body["weights_sha256"]:
        raise ManifestMismatch(f"{weights.name} is not the file that {model.name} names", changed=[weights.name])
    inputs, tasks = Inputs.from_dict(body["inputs"]), [TaskSpec.from_dict(t) for t in body["tasks"]]
    architecture, gating = Architecture.model_validate(body["architecture"]), Gating.model_validate(body["gating"])
    with torch.random.fork_rng(devices=[]):
        network = build_model(inputs, tasks, body["experts"], architecture, gating)
    network.load_state_dict(load(blob), strict=True)
    calibrators = {name: Calibrator.from_dict(c) for name, c in body["calibrators"].items()}
    return Checkpoint(network.eval(), inputs, tasks, body["experts"], architecture, gating, calibrators)


def weights_bytes(model: Teacher) -> bytes:
    """Parameters and learned buffers (the item graph) as safetensors; the same weights give the same bytes."""
    return save({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()})


def parameter_counts(model: Teacher) -> dict[str, int]:
    """Parameters per expert and per further part; those that phase 2 froze count too."""
    counts = {f"expert.{name}": _count(expert) for name, expert in model.experts.items()}
    parts = ("gate1", "gate2", "mixture", "states", "clusters", "baskets", "transfer", "towers")
    counts.update({name: _count(getattr(model, name)) for name in parts})
    counts["total"] = _count(model)
    return counts


def json_bytes(body: Any) -> bytes:
    """Readable JSON with a fixed form; NaN and infinity are refused."""
    return (json.dumps(body, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
