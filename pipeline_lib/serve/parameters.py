"""The function's secrets from AWS's parameter store, where no folder can be mounted.

``ssm:/bank/prod`` reads ``/bank/prod/pepper.key`` and ``/bank/prod/audit-<key id>.key``: SecureStrings, each the
base64 of the 32 bytes that the key folder holds. boto3 is imported when the store is opened.
"""

from __future__ import annotations

import base64
from pathlib import Path

from pipeline_lib.errors import SecretMissing, SettingsError
from pipeline_lib.keys import KeyFolder, Keys

SCHEME = "ssm:"


def open_keys(place: str) -> Keys:
    """The secrets at ``/folder`` or ``ssm:/path``.

    Raises:
        SettingsError: a path of parameters that does not start with a slash.
    """
    if not place.startswith(SCHEME):
        return KeyFolder(Path(place))
    path = place.removeprefix(SCHEME).rstrip("/")
    if not path.startswith("/"):
        raise SettingsError(f"secrets are in a folder or at ssm:/path, found {place!r}")
    return ParameterKeys(path)


class ParameterKeys(Keys):
    """Each parameter is read once in an instance's life: a rotated key counts from the next release on."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._read: dict[str, bytes] = {}

    def read(self, name: str) -> bytes:
        if name not in self._read:
            self._read[name] = self._fetched(name)
        return self._read[name]

    def where(self, name: str) -> str:
        return f"{SCHEME}{self._path}/{name}"

    def _fetched(self, name: str) -> bytes:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        config = Config(connect_timeout=1, read_timeout=1, retries={"mode": "standard", "total_max_attempts": 2})
        try:
            client = boto3.client("ssm", config=config)
            answer = client.get_parameter(Name=f"{self._path}/{name}", WithDecryption=True)
            if answer["Parameter"]["Type"] != "SecureString":
                raise SecretMissing(f"{self.where(name)}: expected a SecureString")
            return base64.b64decode(answer["Parameter"]["Value"], validate=True)
        except (BotoCoreError, ClientError, ValueError) as error:  # never with the value: it is not in these errors
            raise SecretMissing(f"{self.where(name)}: {type(error).__name__} {error}") from error
