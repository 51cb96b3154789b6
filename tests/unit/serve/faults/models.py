"""Release, engines and models that break, at the start and while the function runs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from pipeline_lib.forest import library
from pipeline_lib.serve import engine
from pipeline_lib.serve.kernel import LibraryFailed
from tests.unit.serve.asking import rebaked
from tests.unit.serve.faults.table import STATIC, Seen, error, fault, rules
from tests.unit.serve.faults.world import TASK, World

MODELS, RELEASE = "models", "release"


@fault(MODELS, "nothing", Seen())
def healthy(world: World) -> None:
    world.start()


@fault(MODELS, "a model file is corrupt at the start", rules("MODELS_REFUSED"))
def corrupt_at_start(world: World) -> None:
    path = world.model()
    path.write_bytes(path.read_bytes()[:-1] + b"x")


@fault(MODELS, "a model gives no finite output", Seen(layer="2", reason="NON_FINITE"))
def not_finite(world: World) -> None:
    student = world.start().policy.models.predictor.student(TASK, 1)
    student.base = (math.inf,)


@fault(MODELS, "a model cannot be called", Seen(layer="2", reason="PREDICT_FAILED"))
def refuses(world: World) -> None:
    break_student(world, 1)


@fault(MODELS, "a model is gone at run time, its twin is there", Seen(layer="2", reason="MODEL_MISSING"))
def gone_at_run_time(world: World) -> None:
    lose(world, "model")


@fault(MODELS, "model and twin are gone at run time", Seen(layer="3", reason="MODEL_MISSING"))
def both_gone(world: World) -> None:
    lose(world, "model", "direct")


@fault(MODELS, "model and twin cannot be called", Seen(layer="3", reason="PREDICT_FAILED"))
def both_refuse(world: World) -> None:
    break_student(world, 1)
    break_student(world, 2)


@fault(MODELS, "the kernel is missing, LightGBM's library is there", Seen())
def no_kernel(world: World) -> None:
    world.patch(engine, "find_kernel", nothing_there)


@fault(MODELS, "kernel and LightGBM's library are missing", rules("MODELS_UNLOADABLE"))
def no_engine(world: World) -> None:
    world.patch(engine, "find_kernel", nothing_there)
    world.patch(engine, "_lightgbm", nothing_there)


@fault(MODELS, "the kernel is missing, and LightGBM's library is another one", rules("MODELS_UNLOADABLE"))
def another_lightgbm(world: World) -> None:
    world.patch(engine, "find_kernel", nothing_there)
    world.patch(library, "sha256", lambda path: "0" * 64)


@fault(MODELS, "models break the decision (an attribution raises)", rules("DECISION_FAILED"))
def attribution_breaks(world: World) -> None:
    student = world.start().policy.models.predictor.student(TASK, 1)
    student.forest = Uncredited(student.forest)


@fault(MODELS, "rules are broken too", STATIC)
def rules_break(world: World) -> None:
    break_rules(world)


@fault(MODELS, "rules are broken, and static content is not allowed", error(503, "NO_SAFE_ANSWER"))
def rules_break_alone(world: World) -> None:
    break_rules(world)
    world.policy(static_content=False)


@fault(MODELS, "rules are broken, and static content too", error(503, "NO_SAFE_ANSWER"))
def nothing_left(world: World) -> None:
    break_rules(world)
    world.replace_policy(popular=("no such product",))


@fault(RELEASE, "a file was added to the bundle", rules("MODELS_REFUSED"))
def file_added(world: World) -> None:
    (world.release.folder / "students" / "extra.txt").write_text("who put this here?")


@fault(RELEASE, "a shared library was put beside the package", rules("MODELS_REFUSED"))
def library_added(world: World) -> None:
    (world.release.folder / "lib").mkdir()
    (world.release.folder / "lib" / library.NAME).write_bytes(b"never loaded")


@fault(RELEASE, "its policy loosens a hard cap, and everything is signed and in order", error(503, "NO_SAFE_ANSWER"))
def loosened(world: World) -> None:
    def change(policy: Any) -> Any:
        return {**policy, "suitability": {**policy["suitability"], "age_cap": 66}}

    world.variables["SERVE_MANIFEST_SHA256"] = rebaked(world.release, "serving", change)


@fault(RELEASE, "a policy file was changed", error(503, "NO_SAFE_ANSWER"))
def policy_changed(world: World) -> None:
    path = world.release.folder / "policy" / "serving.json"
    serving = json.loads(path.read_bytes())
    serving["suitability"]["age_cap"] = 60
    path.write_text(json.dumps(serving))


@fault(RELEASE, "the manifest was changed", error(503, "NO_SAFE_ANSWER"))
def manifest_changed(world: World) -> None:
    path = world.release.folder / "manifest.json"
    path.write_bytes(path.read_bytes() + b" ")


@fault(RELEASE, "the keys are gone at the start", error(503, "NO_SAFE_ANSWER"))
def keys_gone(world: World) -> None:
    for file in world.own_keys().iterdir():
        file.unlink()


@fault(RELEASE, "the record's key is gone at run time, before the chain was opened", STATIC)
def keys_gone_later(world: World) -> None:
    folder = world.own_keys()
    world.start()
    (folder / f"audit-{world.settings.audit.key_id}.key").unlink()


class Uncredited:
    """A forest that predicts and cannot say why."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def contributions(self, *given: Any) -> Any:
        raise IndexError("no such node")

    credited = contributions


def nothing_there(*given: Any) -> Any:
    raise LibraryFailed("it is not installed")


def break_student(world: World, layer: int) -> None:
    student = world.start().policy.models.predictor.student(TASK, layer)

    class Broken:
        forest = student.forest

        def raw(self, row: Any) -> Any:
            raise LibraryFailed("refused")

    student.forest = Broken()


def lose(world: World, *names: str) -> None:
    """Files vanish that the running function has not read yet, as its lazily loaded twins."""
    predictor = world.start().policy.models.predictor
    for name in names:
        world.model(name=name).unlink()
    for layer in (1, 2):
        predictor._students.pop((TASK, layer), None)


def break_rules(world: World) -> None:
    """A threshold that every rule of the task needs has gone, and no model answers in its stead."""
    break_student(world, 1)
    break_student(world, 2)
    book = world.start().policy.models.rule_book
    limits: Mapping[str, Any] = {}
    object.__setattr__(book, "limits", limits)
