"""The template's roles against the calls that the code makes: all of them are allowed, and nothing else is."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from pipeline_lib.items import KEYS
from pipeline_lib.publish import release as releases
from pipeline_lib.publish.targets.lambda_target import LambdaTarget
from pipeline_lib.serve import handler, local
from pipeline_lib.serve.tables import Tables
from tests.unit.gate.conftest import policy, world
from tests.unit.gate.promotion_world import Tweaks, World
from tests.unit.publish.test_release_lambda import released, running, target
from tests.unit.serve.conftest import Release, bank, release, request_body
from tests.unit.serve.stores import copy_keys, copy_tables, make_tables

from .iam import ACCOUNT, REGION, TEMPLATE, Calls, Grant, Need, Template, recorded, refused, unused

__all__ = ["bank", "policy", "release", "request_body", "target", "world"]
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/k"
MODEL = f"arn:aws:bedrock:{REGION}::foundation-model/m"
GIVEN = {
    "AuditBucket": "bank-audit", "AuditPrefix": "evidence", "SecretsPath": "/bank", "SecretsKeyArn": KEY,
    "Origin": "bank.example/audit/test", "KeyId": "k-test-01", "Issuer": "https://issuer", "Audience": "branches",
    "ReleasePrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/publish", "Env": "local",
}  # fmt: skip
LOGS = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/recommend:stream"
PLATFORM = {Need("logs:CreateLogStream", LOGS), Need("logs:PutLogEvents", LOGS)}
"""What Lambda itself does as the function's role."""
HEALTH = {"rawPath": "/v1/health", "requestContext": {"http": {"method": "GET"}}}


@pytest.fixture
def template() -> Template:
    return Template(**GIVEN)


@pytest.fixture
def serving(
    aws: str, release: Release, request_body: Callable[..., Any], template: Template, monkeypatch: pytest.MonkeyPatch
) -> Calls:
    """Every route of the real handler under the template's own environment, and a PUT whose answer was lost."""
    items = make_tables()
    copy_tables(release.tables, items)
    Tables(items, 0).record_assessment(release.subject("c5"), 3, release.now.date())
    copy_keys(Path(release.bank.settings.place.keys), "/bank")
    where: Any = {"LocationConstraint": REGION}
    boto3.client("s3").create_bucket(Bucket="bank-audit", CreateBucketConfiguration=where)
    variables = template.resources["RecommendFunction"]["Properties"]["Environment"]["Variables"]
    with recorded(monkeypatch, KEY) as calls:
        service = release.service(**variables)
        body = request_body(idempotency_key="once")
        answer = json.loads(handler.respond(local.event(body), lambda: service)["body"])
        outbound = request_body(channel="app_push", access_reason="self_service", operator_id=None, terminal_id=None)
        assert handler.respond(local.event(outbound), lambda: service)["statusCode"] == 200
        asked = {"prediction_id": answer["prediction_id"], "item_id": answer["items"][0]["item_id"]}
        reason = {**local.event(asked), "rawPath": "/v1/reasons"}
        assert handler.respond(reason, lambda: service)["statusCode"] == 200
        service.append._store.create("serve/twice", b"x")
        service.append._store.create("serve/twice", b"x")
    return calls


@pytest.fixture
def releasing(world: World, tmp_path: Path, target: LambdaTarget, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """A second release of a function that is there, a staged one, a withdrawal, and an alias taken away."""
    released(world, tmp_path, target, Tweaks())
    world.next_week()
    second = str(world.package(Tweaks(seed=2), tmp_path).facts["version"])

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        found = running("recommend", json.dumps(HEALTH).encode(), request["query_string"]["Qualifier"])
        return {**found, "Payload": io.BytesIO(found["Payload"])}

    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    plain = boto3.Session()
    monkeypatch.setattr("tests.unit.publish.test_release_lambda.boto3", plain)
    with recorded(monkeypatch, KEY, {"lambda.Invoke": answer}) as calls:
        mine = LambdaTarget("recommend")
        first = mine.serving()
        releases.release(world.settings, *world.force(second, approver="second.person"), target=mine)
        mine.stage(str(first), 0.1)
        mine.look(str(first))
        mine.shift(second)
        mine.withdraw(str(first))
        mine.shift(None)
        mine.shift(second)
    return calls


def test_cfn_lint_finds_nothing() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("cfn-lint")), str(TEMPLATE)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_function_may_do_what_its_handler_does_and_nothing_else(template: Template, serving: Calls) -> None:
    grants, needs = template.grants("RecommendRole"), serving.needs | PLATFORM
    assert refused(grants, needs) == []
    assert unused(grants, needs) == []
    gone = Grant("dynamodb:GetItem", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/bank-optout")
    assert [need.resource for need in refused([grant for grant in grants if grant != gone], needs)] == [gone.resource]
    assert unused([*grants, Grant("dynamodb:*", "*")], needs) == ["dynamodb:* on *"]


def test_a_release_may_do_what_the_target_does_and_nothing_else(template: Template, releasing: Calls) -> None:
    grants = template.grants("ReleaseRole")
    assert refused(grants, releasing.needs) == []
    assert unused(grants, releasing.needs) == []


def test_items_that_expire_have_a_ttl(template: Template, serving: Calls) -> None:
    tables = [said["Properties"] for said in template.resources.values() if said["Type"] == "AWS::DynamoDB::Table"]
    assert {one["TableName"]: one["KeySchema"][0]["AttributeName"] for one in tables} == {
        f"bank-{name}": key for name, key in KEYS.items()
    }
    assert {one["TableName"] for one in tables if "TimeToLiveSpecification" in one} == serving.expiring


def test_a_model_may_be_asked_only_where_one_is_named(template: Template) -> None:
    assert "ReasonsRole" not in template.resources
    rewriting = Template(**GIVEN, RewriteModelArn=MODEL)
    base, more = (set(map(str, rewriting.grants(role))) for role in ("RecommendRole", "ReasonsRole"))
    assert {one.replace("-reasons:*", ":*") for one in more} - base == {f"bedrock:InvokeModel on {MODEL}"}


@pytest.mark.parametrize("role", ["RecommendRole", "ReasonsRole", "ReleaseRole", "GatewayRole"])
def test_no_action_and_no_resource_is_everything(role: str) -> None:
    for grant in Template(**GIVEN, RewriteModelArn=MODEL).grants(role):
        assert "*" not in grant.action
        assert grant.resource.count(":") >= 5
        assert grant.resource.split(":", 5)[5].strip("*:/")
