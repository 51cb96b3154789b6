"""``Items`` in DynamoDB: one table each, named ``<prefix><table>``, read strongly consistent.

boto3 is imported when a store is opened, not with this module. Whatever goes wrong, an answer that takes too long
included, is TableUnreadable: the request behind it has 800 ms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pipeline_lib.items import KEYS, TableUnreadable

ATTEMPTS = 2
"""How often one read is tried."""
EXPIRES = "expires_at"
"""The tables' TTL attribute [s since 1970]; an item that never expires has none."""


class DynamoItems:
    """``Items`` of one place.

    Args:
        timeout_s: longest wait for a connection, and for an answer [s].
        attempts: how often one read or write is tried.
        connections: how many threads may read or write at once.

    Raises:
        TableUnreadable: no region or no credentials are known, from every method.
    """

    def __init__(self, prefix: str, timeout_s: float, attempts: int = ATTEMPTS, connections: int = 10) -> None:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        self._prefix, self._failed = prefix, (BotoCoreError, ClientError)
        retries = {"mode": "standard", "total_max_attempts": attempts}
        waits = {"connect_timeout": timeout_s, "read_timeout": timeout_s, "max_pool_connections": connections}
        with self._translated("*"):
            self._client = boto3.client("dynamodb", config=Config(**waits, retries=retries))

    def get(self, table: str, key: str) -> Mapping[str, Any] | None:
        with self._translated(table):
            answer = self._client.get_item(
                TableName=self._prefix + table, Key={KEYS[table]: {"S": key}}, ConsistentRead=True
            )
            return _item(answer["Item"]) if "Item" in answer else None

    def all(self, table: str) -> list[Mapping[str, Any]]:
        with self._translated(table):
            pages = self._client.get_paginator("scan").paginate(TableName=self._prefix + table, ConsistentRead=True)
            return [_item(item) for page in pages for item in page["Items"]]

    def put(self, table: str, item: Mapping[str, Any], expires_at: float | None = None) -> None:
        with self._translated(table):
            self._client.put_item(TableName=self._prefix + table, Item=_typed(item, expires_at))

    def put_unless_newer(self, table: str, item: Mapping[str, Any], day: str, expires_at: float | None = None) -> bool:
        """Write an item whole unless the one of its key is of a later date, by ``meta_id``; whether it was written.

        Args:
            day: the item's own date, with which its ``meta_id`` begins (ISO).
        """
        with self._translated(table):
            try:
                self._client.put_item(
                    TableName=self._prefix + table,
                    Item=_typed(item, expires_at),
                    ConditionExpression="attribute_not_exists(meta_id) OR meta_id < :day OR begins_with(meta_id, :day)",
                    ExpressionAttributeValues={":day": {"S": day}},
                )
            except self._client.exceptions.ConditionalCheckFailedException:
                return False
        return True

    def swap(self, table: str, item: Mapping[str, Any], field: str, was: Any, expires_at: float | None = None) -> bool:
        asked: dict[str, Any] = {
            "ConditionExpression": "attribute_not_exists(#field)",
            "ExpressionAttributeNames": {"#field": KEYS[table] if was is None else field},
        }
        if was is not None:
            asked |= {"ConditionExpression": "#field = :was", "ExpressionAttributeValues": {":was": _stored(was)}}
        with self._translated(table):
            try:
                self._client.put_item(TableName=self._prefix + table, Item=_typed(item, expires_at), **asked)
            except self._client.exceptions.ConditionalCheckFailedException:
                return False
        return True

    def delete(self, table: str, key: str) -> None:
        with self._translated(table):
            self._client.delete_item(TableName=self._prefix + table, Key={KEYS[table]: {"S": key}})

    @contextmanager
    def _translated(self, table: str) -> Iterator[None]:
        try:
            yield
        except (*self._failed, ValueError, TypeError) as error:  # a ValueError is also an endpoint that is no address
            raise TableUnreadable(f"{self._prefix}{table}: {error}") from error


def _typed(item: Mapping[str, Any], expires_at: float | None) -> dict[str, Any]:
    stored = {name: _stored(value) for name, value in item.items()}
    return stored if expires_at is None else {**stored, EXPIRES: {"N": str(math.ceil(expires_at))}}


def _stored(value: Any) -> dict[str, Any]:
    """A field as DynamoDB types it; its numbers have 38 digits, so a float's own digits are exact."""
    if value is None:
        return {"NULL": True}
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, bytes):
        return {"B": value}
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return {"N": repr(int(value) if isinstance(value, bool) else value)}
    raise ValueError(f"a field is text, a finite number, bytes or nothing, found {value!r}")


def _item(stored: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name: _value(name, typed) for name, typed in stored.items() if name != EXPIRES}


def _value(name: str, typed: Mapping[str, Any]) -> Any:
    ((kind, value),) = typed.items()
    if kind == "N":
        return int(value) if value.lstrip("-").isdigit() else float(value)
    if kind not in ("S", "B", "BOOL", "NULL"):
        raise ValueError(f"{name}: text, number, bytes or nothing expected, found {kind}")
    return None if kind == "NULL" else value
