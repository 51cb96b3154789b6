"""A template's roles as IAM reads them, and the permissions that calls through botocore need.

Only what infra/serving.yaml uses: Allow statements, actions by their exact names, resources as patterns, and the one
condition that decides between two calls of the same action (a create-only PUT).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
from cfnlint.decode import decode

TEMPLATE = Path(__file__).resolve().parents[3] / "infra" / "serving.yaml"
REGION, ACCOUNT = "ap-northeast-2", "123456789012"
PSEUDO = {"AWS::Partition": "aws", "AWS::Region": REGION, "AWS::AccountId": ACCOUNT, "AWS::NoValue": None}
CREATE_ONLY = {"Null": {"s3:if-none-match": "false"}}


@dataclass(frozen=True, order=True)
class Need:
    action: str
    resource: str
    creates: bool = False
    """Of a PUT: only where nothing is."""


@dataclass(frozen=True)
class Grant:
    action: str
    resource: str
    condition: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def allows(self, need: Need) -> bool:
        if self.condition == CREATE_ONLY and not need.creates:
            return False
        return self.action == need.action and fnmatchcase(need.resource, self.resource)

    def __str__(self) -> str:
        return f"{self.action} on {self.resource}"


class Template:
    """A template under given parameters."""

    def __init__(self, path: Path = TEMPLATE, **given: str) -> None:
        self.body, found = decode(str(path))
        assert not found, found
        defaults = {name: said.get("Default") for name, said in self.body["Parameters"].items()}
        self.values = {**defaults, **given}
        assert not (missing := [name for name, value in self.values.items() if value is None]), missing

    @property
    def resources(self) -> dict[str, Any]:
        """Those whose condition holds, with every intrinsic function worked out."""
        kept = {k: v for k, v in self.body["Resources"].items() if "Condition" not in v or self._holds(v["Condition"])}
        return {name: self.solved(said) for name, said in kept.items()}

    def grants(self, role: str) -> list[Grant]:
        """Everything a role is allowed, one action on one resource each."""
        statements = [
            s for p in self.resources[role]["Properties"]["Policies"] for s in p["PolicyDocument"]["Statement"]
        ]
        return [
            Grant(action, resource, statement.get("Condition", {}))
            for statement in statements
            for action in _listed(statement["Action"])
            for resource in _listed(statement["Resource"])
            if statement["Effect"] == "Allow"
        ]

    def solved(self, node: Any) -> Any:
        if isinstance(node, list):
            return [value for value in map(self.solved, node) if value is not None]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, said),) = node.items()
            if name == "Ref":
                return self._ref(said)
            if name == "Fn::GetAtt":
                return self._attribute(said if isinstance(said, str) else ".".join(said))
            if name == "Fn::Sub":
                return re.sub(r"\$\{([^}]+)\}", lambda found: self._named(found[1]), said)
            if name == "Fn::If":
                return self.solved(said[1] if self._holds(said[0]) else said[2])
        return {key: solved for key, value in node.items() if (solved := self.solved(value)) is not None}

    def _named(self, name: str) -> str:
        return str(self._attribute(name) if "." in name else self._ref(name))

    def _ref(self, name: str) -> Any:
        known = {**PSEUDO, **self.values}
        return known[name] if name in known else name

    def _attribute(self, name: str) -> str:
        logical, _, attribute = name.partition(".")
        said = self.body["Resources"][logical]
        properties = {key: self.solved(value) for key, value in said["Properties"].items() if key.endswith("Name")}
        if attribute != "Arn":
            return name
        of = {
            "AWS::DynamoDB::Table": lambda: f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{properties['TableName']}",
            "AWS::Lambda::Function": lambda: f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{properties['FunctionName']}",
            "AWS::Logs::LogGroup": lambda: f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{properties['LogGroupName']}:*",
            "AWS::IAM::Role": lambda: f"arn:aws:iam::{ACCOUNT}:role/{logical}",
        }
        return of[said["Type"]]()

    def _holds(self, condition: str) -> bool:
        (((negated,),),) = ([said] for said in [self.body["Conditions"][condition]["Fn::Not"]])
        left, right = (self.solved(value) for value in negated["Fn::Equals"])
        return bool(left != right)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def refused(grants: list[Grant], needs: set[Need]) -> list[Need]:
    """Needs that no grant covers."""
    return sorted(need for need in needs if not any(grant.allows(need) for grant in grants))


def unused(grants: list[Grant], needs: set[Need]) -> list[str]:
    """Grants that no need uses."""
    return sorted(str(grant) for grant in grants if not any(grant.allows(need) for need in needs))


class Calls:
    """The permissions that every call of a block needed, in the order of nothing."""

    def __init__(self, secrets_key: str) -> None:
        self.needs: set[Need] = set()
        self.expiring: set[str] = set()
        """Tables that got an item with the TTL attribute."""
        self._key = secrets_key

    def __call__(self, params: Mapping[str, Any], model: Any, **_: Any) -> None:
        service, operation = model.service_model.service_name, model.name
        self.needs |= set(getattr(self, f"_{service.replace('-', '_')}")(operation, params))
        if "expires_at" in params.get("Item", {}):
            self.expiring.add(params["TableName"])

    def _dynamodb(self, operation: str, params: Mapping[str, Any]) -> list[Need]:
        return [Need(f"dynamodb:{operation}", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{params['TableName']}")]

    def _s3(self, operation: str, params: Mapping[str, Any]) -> list[Need]:
        where = f"arn:aws:s3:::{params['Bucket']}"
        if operation == "ListObjectsV2":
            return [Need("s3:ListBucket", where)]
        return [Need(f"s3:{operation}", f"{where}/{params['Key']}", params.get("IfNoneMatch") == "*")]

    def _ssm(self, operation: str, params: Mapping[str, Any]) -> list[Need]:
        asked = Need(f"ssm:{operation}", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{params['Name']}")
        return [asked, Need("kms:Decrypt", self._key)] if params.get("WithDecryption") else [asked]

    def _lambda(self, operation: str, params: Mapping[str, Any]) -> list[Need]:
        action = {"Invoke": "InvokeFunction", "ListVersionsByFunction20150331": "ListVersionsByFunction"}.get(
            operation, operation
        )
        function = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{params['FunctionName']}"
        return [Need(f"lambda:{action}", f"{function}:{params['Qualifier']}" if "Qualifier" in params else function)]

    def _bedrock_runtime(self, operation: str, params: Mapping[str, Any]) -> list[Need]:
        assert operation == "Converse"
        return [Need("bedrock:InvokeModel", params["modelId"])]


@contextmanager
def recorded(monkeypatch: Any, secrets_key: str, answers: Mapping[str, Any] | None = None) -> Iterator[Calls]:
    """Calls of the clients made in this block.

    Args:
        answers: "service.Operation" -> what is answered instead of asking; called with the HTTP request.
    """
    calls = Calls(secrets_key)
    session = boto3.Session()
    session.events.register("provide-client-params", calls)
    for operation, answer in (answers or {}).items():
        said = lambda params, answer=answer, **_: (SimpleNamespace(status_code=200), answer(params))  # noqa: E731
        session.events.register(f"before-call.{operation}", said)
    with monkeypatch.context() as patched:
        patched.setattr(boto3, "DEFAULT_SESSION", session)
        yield calls
