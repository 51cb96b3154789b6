"""AWS Lambda as target, spoken to over its real API on loopback."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import boto3
import pytest

from pipeline_lib.errors import ActivationFailed, SettingsError
from pipeline_lib.publish import release as releases
from pipeline_lib.publish.targets import open_target
from pipeline_lib.publish.targets.lambda_target import ALIAS, LambdaTarget, invoke
from pipeline_lib.publish.targets.lambda_zip import bundle
from pipeline_lib.registry import states, versions
from pipeline_lib.serve import handler
from pipeline_lib.serve.service import Service
from tests.unit.gate.conftest import policy, world
from tests.unit.gate.promotion_world import Tweaks, World

__all__ = ["policy", "world"]
FUNCTION = "recommend"


@pytest.fixture
def target(aws: str) -> LambdaTarget:
    trust = '{"Version": "2012-10-17", "Statement": []}'
    role = boto3.client("iam").create_role(RoleName="serve", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    return LambdaTarget(FUNCTION, role, ask=running)


def running(function: str, event: bytes, qualifier: str) -> dict[str, Any]:
    """A runtime that answers: the handler's routes around the version that is asked."""
    client = boto3.client("lambda")
    aliased = qualifier == ALIAS
    number = client.get_alias(FunctionName=function, Name=ALIAS)["FunctionVersion"] if aliased else qualifier
    listed = client.list_versions_by_function(FunctionName=function)["Versions"]
    label = next(item["Description"] for item in listed if item["Version"] == number)
    health = SimpleNamespace(health=lambda: {"status": "ok", "version": label.split(" ")[0]})
    response = handler.respond(json.loads(event), lambda: cast(Service, health))
    return {"StatusCode": 200, "Payload": json.dumps(response).encode()}


def answering(status: int, body: str) -> dict[str, Any]:
    return {"StatusCode": 200, "Payload": json.dumps({"statusCode": status, "body": body}).encode()}


SILENT: dict[str, dict[str, Any]] = {
    "crashed": {"StatusCode": 200, "FunctionError": "Unhandled", "Payload": b'{"errorType": "Runtime.ExitError"}'},
    "refuses": answering(503, '{"error": {"code": "NO_SAFE_ANSWER"}}'),
    "another version": answering(200, '{"version": "v20200101-00000000"}'),
    "another program": {"StatusCode": 200, "Payload": b'"Simple Lambda happy path OK"'},
}


def released(world: World, tmp: Path, target: LambdaTarget, tweaks: Tweaks) -> str:
    version = str(world.package(tweaks, tmp).facts["version"])
    world.score(tweaks, None)
    world.judge()
    releases.publish(world.ctx, target=target)
    return version


def published() -> list[str]:
    found = boto3.client("lambda").list_versions_by_function(FunctionName=FUNCTION)["Versions"]
    return [item["Version"] for item in found if item["Version"] != "$LATEST"]


def test_a_first_release_creates_function_version_and_alias(world: World, tmp_path: Path, target: LambdaTarget) -> None:
    version = released(world, tmp_path, target, Tweaks())
    assert target.serving() == version
    alias = boto3.client("lambda").get_alias(FunctionName=FUNCTION, Name=ALIAS)
    assert alias["FunctionVersion"] == "1"
    assert states.read(world.ctx.objects, version)["lambda_version"] == "1"
    assert world.ctx.read("publish").facts["target"] == f"lambda:{FUNCTION}"


def test_the_manifests_hash_is_fixed_in_the_versions_environment(
    world: World, tmp_path: Path, target: LambdaTarget
) -> None:
    version = released(world, tmp_path, target, Tweaks())
    found = boto3.client("lambda").get_function_configuration(FunctionName=FUNCTION, Qualifier="1")
    expected = versions.verify(world.ctx.objects, world.keys, version).sha256
    assert found["Environment"]["Variables"]["SERVE_MANIFEST_SHA256"] == expected


def test_going_back_moves_the_alias_and_publishes_nothing(world: World, tmp_path: Path, target: LambdaTarget) -> None:
    first = released(world, tmp_path, target, Tweaks())
    world.next_week()
    second = str(world.package(Tweaks(seed=2), tmp_path).facts["version"])
    releases.release(world.settings, *world.force(second, approver="second.person"), target=target)
    assert (target.serving(), published()) == (second, ["1", "2"])
    back = world.force(first, approver="second.person", request_id="back")
    releases.release(world.settings, *back, target=target)
    releases.release(world.settings, *back, target=target)
    assert (target.serving(), published()) == (first, ["1", "2"])


def test_a_first_version_that_fails_leaves_no_alias(world: World, tmp_path: Path, target: LambdaTarget) -> None:
    class Silent(LambdaTarget):
        def check(self, version: str) -> None:
            raise ActivationFailed(f"{version}: no answer")

    target.__class__ = Silent
    with pytest.raises(ActivationFailed, match="no answer"):
        released(world, tmp_path, target, Tweaks())
    assert target.serving() is None
    assert world.seen.version is None


@pytest.mark.parametrize("answer", SILENT.values(), ids=SILENT)
def test_a_version_whose_function_does_not_answer_is_taken_back(
    world: World, tmp_path: Path, target: LambdaTarget, answer: dict[str, Any]
) -> None:
    first = released(world, tmp_path, target, Tweaks())
    world.next_week()
    second = str(world.package(Tweaks(seed=2), tmp_path).facts["version"])
    broken = LambdaTarget(FUNCTION, ask=lambda function, event, qualifier: answer)
    with pytest.raises(ActivationFailed, match="GET /v1/health at live"):
        releases.release(world.settings, *world.force(second, approver="second.person"), target=broken)
    assert (target.serving(), world.seen.version) == (first, first)
    target.check(first)
    assert "failed" in [row.payload["phase"] for row in world.rows("manifest_swap")]


def test_two_publishes_at_once_never_label_one_with_the_code_of_the_other(
    world: World, tmp_path: Path, target: LambdaTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = released(world, tmp_path, target, Tweaks())
    world.next_week()
    made = [str(world.package(Tweaks(seed=seed), tmp_path).facts["version"]) for seed in (2, 3)]
    other, configure = LambdaTarget(FUNCTION, ask=running), target._configure
    with (
        versions.opened(world.ctx.objects, world.keys, made[0]) as mine,
        versions.opened(world.ctx.objects, world.keys, made[1]) as theirs,
    ):

        def overtaken(sha256: str) -> None:
            configure(sha256)
            other.publish(theirs)

        monkeypatch.setattr(target, "_configure", overtaken)
        with pytest.raises(ActivationFailed, match="another release wrote the function meanwhile"):
            target.publish(mine)
        monkeypatch.setattr(target, "_configure", configure)
        target.publish(mine)
        sent = {made[0]: bundle(mine), made[1]: bundle(theirs)}
    listed = boto3.client("lambda").list_versions_by_function(FunctionName=FUNCTION)["Versions"]
    found = {item["Description"].split(" ")[0]: item["CodeSha256"] for item in listed if item["Version"] != "$LATEST"}
    assert found.keys() == {first, *made}
    hashed = {version: base64.b64encode(hashlib.sha256(data).digest()).decode() for version, data in sent.items()}
    assert {version: found[version] for version in made} == hashed


def test_a_target_that_is_opened_asks_the_real_function(aws: str) -> None:
    found = open_target(f"lambda:{FUNCTION}")
    assert isinstance(found, LambdaTarget)
    assert found._ask is invoke


def test_without_a_role_a_missing_function_is_named(world: World, tmp_path: Path, aws: str) -> None:
    with pytest.raises(ActivationFailed, match=f"lambda:{FUNCTION} does not exist"):
        released(world, tmp_path, LambdaTarget(FUNCTION), Tweaks())
    assert world.seen.tag is None


def test_an_alias_somebody_moved_is_unhealthy_and_brought_back(
    world: World, tmp_path: Path, target: LambdaTarget
) -> None:
    version = released(world, tmp_path, target, Tweaks())
    boto3.client("lambda").update_alias(FunctionName=FUNCTION, Name=ALIAS, FunctionVersion="$LATEST")
    with pytest.raises(ActivationFailed, match="alias live is at"):
        target.check(version)
    releases.reconcile(world.settings, target=target)
    target.check(version)


def test_the_zip_is_reproducible_and_its_handler_imports_alone(world: World, tmp_path: Path) -> None:
    version = world.bootstrap(tmp_path)
    with versions.opened(world.ctx.objects, world.keys, version) as copy:
        first, second = bundle(copy), bundle(copy)
    assert first == second
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        archive.extractall(tmp_path / "task")
    assert (tmp_path / "task/release/manifest.json").is_file()
    code = "import pipeline_lib, pipeline_lib.serve.handler; print(pipeline_lib.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "task", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "task/pipeline_lib/__init__.py")


def test_registry_and_record_work_the_same_in_buckets(world: World, tmp_path: Path, aws: str) -> None:
    buckets = ("bank-store", "bank-audit")
    for name in buckets:
        where = {"LocationConstraint": "ap-northeast-2"}
        boto3.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration=where)
    remote = {"root": "s3://bank-store/main", "audit": "s3://bank-audit"}
    place = world.settings.place.model_copy(update=remote)
    world.settings = world.settings.model_copy(update={"place": place})
    world.bootstrap(tmp_path)
    second = world.promote(tmp_path)
    assert world.seen.version == second == world.target.serving()
    assert states.listed(world.ctx.objects, "champion") == [second]
    assert releases.reconcile(world.settings) == []


@pytest.mark.parametrize("url", ["s3://bucket", "file://relative", "lambda:", "recommend"])
def test_a_target_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="a release target is"):
        open_target(url)
