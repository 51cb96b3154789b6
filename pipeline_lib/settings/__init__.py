"""The one reader of policy and of the environment.

Policy is YAML under ``config/``: one file per section and one per source under ``config/sources/``. It becomes
frozen typed settings; an unknown key, a wrong type or a contradiction is a SettingsError naming file and key.
The hash of the effective settings is stamped on every artefact. The environment supplies only facts of the
place (store, keys, target): see ``Place``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from pipeline_lib.canonical import digest, with_decimals
from pipeline_lib.errors import SettingsError
from pipeline_lib.settings.audit import Audit
from pipeline_lib.settings.base import Section
from pipeline_lib.settings.benchmark import Benchmark
from pipeline_lib.settings.compliance import Compliance
from pipeline_lib.settings.data import Data
from pipeline_lib.settings.distillation import Distillation
from pipeline_lib.settings.features import Features
from pipeline_lib.settings.leakage import Leakage
from pipeline_lib.settings.monitoring import Monitoring
from pipeline_lib.settings.place import Place
from pipeline_lib.settings.promotion import Promotion
from pipeline_lib.settings.realism import Realism
from pipeline_lib.settings.schedules import Schedules
from pipeline_lib.settings.serving import Serving
from pipeline_lib.settings.source import Source
from pipeline_lib.settings.synthetic import Synthetic
from pipeline_lib.settings.tasks import Tasks
from pipeline_lib.settings.teacher import Teacher

_S = TypeVar("_S", bound=Section)
CONFIG = Path(__file__).resolve().parent.parent / "config"

__all__ = ["CONFIG", "Place", "Settings", "benchmark_names", "load", "load_benchmark", "source_names"]


class Settings(Section):
    """Everything a run depends on. ``place`` is where it runs and is not part of the hash."""

    place: Place
    source: Source
    tasks: Tasks
    data: Data
    leakage: Leakage
    features: Features
    teacher: Teacher
    distillation: Distillation
    promotion: Promotion
    realism: Realism
    serving: Serving
    audit: Audit
    monitoring: Monitoring
    compliance: Compliance
    schedules: Schedules

    @cached_property
    def config_hash(self) -> str:
        """Hex SHA-256 of the effective policy in canonical form."""
        return digest(with_decimals(self.model_dump(mode="json", exclude={"place"}), 12))


KINDS: dict[str, type[Section]] = {
    name: field.annotation  # type: ignore[misc]
    for name, field in Settings.model_fields.items()
    if name not in {"place", "source"}
}
SECTIONS = tuple(KINDS)
GENERATOR = "synthetic"
"""Section with the laws of a generated bank: part of its source, so that a real bank's hash does not know it."""


def load(dataset: str | None = None, place: Place | None = None) -> Settings:
    """Read, merge and check the policy for one data set.

    Order: the section's file, then ``overrides`` of the source, then the local overrides file (never in prod), which
    alone may also change the ``source`` itself, e.g. the size of the synthetic bank.

    Raises:
        SettingsError: naming file and key, what was found and what was expected.
    """
    place = place or Place.from_environment(dataset=dataset)
    name = dataset or place.dataset
    if name != place.dataset:
        raise SettingsError(f"the place is the home of {place.dataset!r}, asked for {name!r}")
    if name not in source_names():
        raise SettingsError(f"no source named {name!r}; config/sources has {', '.join(source_names())}")
    source_file = f"sources/{name}.yaml"
    source = _read(CONFIG / source_file)
    layers = [(source_file, source.pop("overrides", {}))]
    if place.overrides:
        local = _read(place.overrides)
        source = _merged(source, local.pop("source", {}))
        source_file = f"{source_file} with {place.overrides}"
        layers.append((str(place.overrides), local))
    _require_known_sections(layers)
    body: dict[str, Any] = {section: _section(section, KINDS[section], layers) for section in SECTIONS}
    body["source"] = _checked(Source, {"name": name, **source}, source_file)
    if body["source"].origin == "synthetic":
        laws = _section(GENERATOR, Synthetic, layers)
        body["source"] = body["source"].model_copy(update={"generator": laws})
    if place.env == "prod" and body["promotion"].auto_promote:
        raise SettingsError("promotion.yaml: auto_promote must be false in prod, found true")
    _require_known_tasks(body["teacher"], body["tasks"])
    return Settings(place=place, **body)


def _require_known_tasks(teacher: Teacher, tasks: Tasks) -> None:
    """A misspelt task would silently be a task without a prior, a route or a metric."""
    structure, gating = teacher.architecture, teacher.gating
    ends = [name for edge in structure.transfer.edges for name in (edge.source, edge.target)]
    named: dict[str, Iterable[str]] = {
        "gating.preferred": gating.preferred,
        "gating.literal": gating.literal,
        "architecture.hmm.modes": structure.hmm.modes,
        "architecture.transfer.edges": ends,
        "selection.ndcg_tasks": teacher.selection.ndcg_tasks,
        "calibration.class_bias": teacher.calibration.class_bias,
        "calibration.linear": teacher.calibration.linear,
    }
    for key, names in named.items():
        if unknown := sorted(set(names) - tasks.tasks.keys()):
            raise SettingsError(f"teacher.yaml: {key} names tasks {unknown} that tasks.yaml does not have")
    if unknown := sorted(teacher.adatt.intra_group.keys() - {task.group for task in tasks.tasks.values()}):
        raise SettingsError(f"teacher.yaml: adatt.intra_group names groups {unknown} that tasks.yaml does not have")


def _require_known_sections(layers: list[tuple[str, dict[str, Any]]]) -> None:
    known = (*SECTIONS, GENERATOR)
    for file, layer in layers:
        if unknown := sorted(layer.keys() - set(known)):
            raise SettingsError(f"{file}: overrides of unknown sections {unknown}; known: {', '.join(known)}")


def load_benchmark(name: str) -> Benchmark:
    """What a benchmark set holds.

    Raises:
        SettingsError: naming file and key, what was found and what was expected.
    """
    if name not in benchmark_names():
        raise SettingsError(f"no benchmark named {name!r}; config/benchmarks has {', '.join(benchmark_names())}")
    file = f"benchmarks/{name}.yaml"
    return _checked(Benchmark, {**_read(CONFIG / file), "name": name}, file)


def benchmark_names() -> list[str]:
    return sorted(path.stem for path in (CONFIG / "benchmarks").glob("*.yaml"))


def source_names() -> list[str]:
    return sorted(path.stem for path in (CONFIG / "sources").glob("*.yaml"))


def _section(section: str, kind: type[Section], layers: list[tuple[str, dict[str, Any]]]) -> Section:
    body, files = _read(CONFIG / f"{section}.yaml"), f"{section}.yaml"
    for file, layer in layers:
        if section in layer:
            body, files = _merged(body, layer[section]), f"{files} with {file}"
    return _checked(kind, body, files)


def _checked(kind: type[_S], body: Mapping[str, Any], file: str) -> _S:
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        lines = [
            f"{file}: {'.'.join(str(part) for part in e['loc']) or '(whole file)'}: {e['msg']}, "
            f"found {_short(e['input'])}"
            for e in error.errors()
        ]
        raise SettingsError("\n".join(lines)) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        body = yaml.load(path.read_text(encoding="utf-8"), Loader=_NoDuplicates)  # noqa: S506  a SafeLoader
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such settings file") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: {error}") from error
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise SettingsError(f"{path}: expected a mapping at the top, found {type(body).__name__}")
    return body


def _merged(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in top.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = _merged(out[key], value) if both else value
    return out


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


class _NoDuplicates(yaml.SafeLoader):
    """A key written twice is an error: YAML would silently keep the last one."""


def _mapping(loader: _NoDuplicates, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is written twice", node.start_mark)
    return loader.construct_mapping(node, deep=True)


_NoDuplicates.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
