"""The serving tables and keys of a released folder, copied to what stands in for AWS."""

from __future__ import annotations

import base64
from pathlib import Path

import boto3

from pipeline_lib.items import EXPIRING, KEYS, Items, SqliteItems
from pipeline_lib.items.dynamo import DynamoItems

PREFIX = "bank-"


def make_tables(prefix: str = PREFIX) -> DynamoItems:
    """Empty tables under the names and keys of the template."""
    client = boto3.client("dynamodb")
    for table, key in KEYS.items():
        client.create_table(
            TableName=prefix + table,
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
    return DynamoItems(prefix, 1.0)


def copy_tables(folder: Path, to: Items) -> None:
    source = SqliteItems(folder)
    for table in KEYS.keys() - set(EXPIRING):
        for item in source.all(table):
            to.put(table, item)


def copy_keys(folder: Path, path: str) -> None:
    client = boto3.client("ssm")
    for file in folder.glob("*.key"):
        value = base64.b64encode(file.read_bytes()).decode()
        client.put_parameter(Name=f"{path}/{file.name}", Value=value, Type="SecureString")
