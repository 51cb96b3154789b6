"""Secrets of one place: the only code that reads one. Standard library only, so that Lambda can use it.

A secret is a file named for its purpose in the keys folder (``PIPELINE_KEYS``), readable by its owner only; in
production the folder is a mounted secret. There is no default, no fallback and no secret in the settings.

    audit-<key_id>.key     32 random bytes: root of the record's MAC keys
    pepper.key             32 random bytes: pseudonyms of customers
    sign-<purpose>.pem     Ed25519 private keys, see signing.py
    sign-<purpose>.pub     their public halves; sign-<purpose>.<key id>.pub those of keys since replaced
    sign-checkpoint.next.pem    a key that will sign checkpoints, until one is signed by both
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path

from pipeline_lib.errors import SecretMissing

KEY_BYTES = 32


class Keys(ABC):
    """Secrets by name. Raises SecretMissing naming the secret; never returns an empty or default key."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The bytes of a secret, unchecked."""

    @abstractmethod
    def where(self, name: str) -> str:
        """What people call the place of a secret."""

    def audit_root(self, key_id: str) -> bytes:
        return self._secret(f"audit-{key_id}.key")

    def pepper(self) -> bytes:
        return self._secret("pepper.key")

    def _secret(self, name: str) -> bytes:
        data = self.read(name)
        if len(data) != KEY_BYTES or _made_up(data):
            raise SecretMissing(
                f"{self.where(name)}: expected {KEY_BYTES} random bytes, found {len(data)} that are not random"
            )
        return data


class KeyFolder(Keys):
    """``Keys`` in the files of a folder, which can also be written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create_secrets(self, audit_key_id: str) -> None:
        """Write the random secrets that are missing and keep those that exist: safe to run twice."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in (f"audit-{audit_key_id}.key", "pepper.key"):
            self.write_once(name, secrets.token_bytes(KEY_BYTES), 0o600)

    def read(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            raise SecretMissing(
                f"{self.folder / name} does not exist; on a laptop create keys with `pipeline keys init`"
            ) from None

    def write_once(self, name: str, data: bytes, mode: int) -> None:
        try:
            handle = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            return
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def names(self, pattern: str) -> list[str]:
        """Names of the files that match, sorted."""
        return sorted(path.name for path in self.folder.glob(pattern))

    def exists(self, name: str) -> bool:
        return (self.folder / name).is_file()

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def replace(self, name: str, data: bytes, mode: int) -> None:
        """Put other bytes under a name in one step: a crash leaves the old ones or the new ones."""
        handle, temp = tempfile.mkstemp(dir=self.folder, prefix=".tmp-")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temp, mode)
        os.replace(temp, self.folder / name)

    def where(self, name: str) -> str:
        return str(self.folder / name)


def _made_up(data: bytes) -> bool:
    """Does a person or an example stand behind these bytes: few values, counted up, or typed? Never by chance."""
    steps = {(after - before) % 256 for before, after in zip(data, data[1:], strict=False)}
    return min(len(set(data)), len(steps)) < KEY_BYTES // 4 or all(32 <= byte < 127 for byte in data)


def subject_ref(pepper: bytes, customer_id: str) -> str:
    """The pseudonym of a customer in every record and log: ``s_`` and 64 hex. Source: audit.md 8.4."""
    return "s_" + hmac.new(pepper, f"customer|{customer_id}".encode(), hashlib.sha256).hexdigest()
