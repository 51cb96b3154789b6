"""One object store behind one small interface: ``file://`` on a laptop, ``s3://`` in production.

Every write is atomic: locally a temporary file is written, fsynced and renamed (or linked, when it must not
exist yet); on S3 a PUT is atomic by itself. ``create`` never overwrites and ``swap`` replaces only what the
caller has seen, which is all the coordination the registry and the record need. S3 semantics used:
conditional writes with ``If-None-Match: *`` and ``If-Match: <etag>``.

Keys are relative, ``/``-separated, without ``..``. boto3 is imported only when an ``s3://`` root is opened.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import urlparse

from pipeline_lib.errors import ObjectExists, ObjectMissing, StoreError, SwapLost

_TEMP = ".tmp"
_LOCKS = ".locks"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def open_objects(url: str, timeout_s: float | None = None) -> Objects:
    """The store at ``file:///path`` or ``s3://bucket/prefix``.

    Args:
        timeout_s: a remote store is asked once for each call, and a call that takes longer has failed [s]; without
            it the store's own patience. A local disk cannot be hurried.

    Raises:
        StoreError: another scheme, or no path or bucket.
    """
    parts = urlparse(url)
    if parts.scheme == "file" and parts.path.startswith("/"):
        return LocalObjects(Path(parts.path))
    if parts.scheme == "s3" and parts.netloc:
        return S3Objects(parts.netloc, parts.path.strip("/"), timeout_s)
    raise StoreError(f"object store root must be file:///absolute/path or s3://bucket/prefix, found {url!r}")


class Objects(ABC):
    """Bytes under keys. Raises ObjectMissing, ObjectExists, SwapLost or StoreError, nothing else."""

    url: str

    @abstractmethod
    def get_tagged(self, key: str) -> tuple[bytes, str]:
        """Bytes and the tag to pass to ``swap``."""

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write or overwrite, atomically and durably."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> None:
        """Write a key that must not exist. The same bytes again are a success: a retry is not a conflict."""

    @abstractmethod
    def swap(self, key: str, data: bytes, tag: str | None) -> None:
        """Replace what ``get_tagged`` returned with ``tag``; ``None`` means the key must not exist."""

    @abstractmethod
    def list(self, prefix: str) -> list[str]:
        """Keys under a folder, sorted."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove a key; a missing key is not an error."""

    @abstractmethod
    def put_file(self, key: str, path: Path) -> None:
        """Move a finished local file into the store (the file is gone afterwards)."""

    @abstractmethod
    def local_path(self, key: str) -> Path:
        """A readable local file with the object's bytes; a copy for remote stores."""

    @abstractmethod
    def scratch(self) -> AbstractContextManager[Path]:
        """Context manager: an empty local folder from which ``put_file`` is cheap."""

    def get(self, key: str) -> bytes:
        return self.get_tagged(key)[0]

    def exists(self, key: str) -> bool:
        try:
            self.get_tagged(key)
        except ObjectMissing:
            return False
        return True


class LocalObjects(Objects):
    def __init__(self, root: Path) -> None:
        self._root = root
        self.url = f"file://{root}"

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        try:
            data = self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise ObjectMissing(f"{self.url}/{key}: no such object") from None
        return data, hashlib.sha256(data).hexdigest()

    def put(self, key: str, data: bytes) -> None:
        target = self._target(key)
        os.replace(self._durable_temp(data), target)
        _fsync(target.parent)

    def create(self, key: str, data: bytes) -> None:
        target, temp = self._target(key), self._durable_temp(data)
        try:
            os.link(temp, target)
        except FileExistsError:
            if target.read_bytes() != data:
                raise ObjectExists(f"{self.url}/{key}: exists with other bytes") from None
        finally:
            os.unlink(temp)
        _fsync(target.parent)

    def swap(self, key: str, data: bytes, tag: str | None) -> None:
        with self._lock(key):
            try:
                found: str | None = self.get_tagged(key)[1]
            except ObjectMissing:
                found = None
            if found != tag:
                raise SwapLost(f"{self.url}/{key}: expected {tag}, found {found}")
            self.put(key, data)

    def list(self, prefix: str) -> list[str]:
        base, root = self._path(prefix), str(self._root)
        keys = []
        for folder, inner, names in os.walk(base, onerror=_unless_missing):
            if folder == root:
                inner[:] = [name for name in inner if name not in (_TEMP, _LOCKS)]
            within = folder[len(root) :].strip("/")
            keys += [f"{within}/{name}" if within else name for name in names]
        return sorted(keys)

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def put_file(self, key: str, path: Path) -> None:
        _fsync(path)
        target = self._target(key)
        try:
            os.replace(path, target)
        except OSError:  # another file system
            with self.scratch() as folder:
                copy = shutil.copy(path, folder / "copy")
                _fsync(Path(copy))
                os.replace(copy, target)
            path.unlink()
        _fsync(target.parent)

    def local_path(self, key: str) -> Path:
        path = self._path(key)
        if not path.is_file():
            raise ObjectMissing(f"{self.url}/{key}: no such object")
        return path

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        folder = self._root / _TEMP
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as name:
            yield Path(name)

    def _durable_temp(self, data: bytes) -> str:
        name = f"{self._root}/{_TEMP}/tmp{secrets.token_hex(8)}"
        try:
            handle = os.open(name, _NEW, 0o644)
        except FileNotFoundError:
            (self._root / _TEMP).mkdir(parents=True, exist_ok=True)
            handle = os.open(name, _NEW, 0o644)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(handle, 0o644)
                os.fsync(handle)
        except OSError:
            os.unlink(name)  # on a full disk what is half written would keep the next one out
            raise
        return name

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        folder = self._root / _LOCKS
        folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        with open(folder / name, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _path(self, key: str) -> Path:
        return self._root / _checked(key)

    def _target(self, key: str) -> Path:
        path = self._path(key)
        if path.parent.is_dir():
            return path
        new = [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in new:
            _fsync(folder.parent)  # or the folder, with all in it, may be gone after a power cut
        return path


class S3Objects(Objects):
    def __init__(self, bucket: str, prefix: str, timeout_s: float | None = None) -> None:
        import boto3
        from boto3.exceptions import Boto3Error
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.handlers import add_expect_header

        once = {"connect_timeout": timeout_s, "read_timeout": timeout_s, "retries": {"total_max_attempts": 1}}
        self._refused, self._failed = ClientError, (BotoCoreError, Boto3Error)
        self._bucket, self._prefix = bucket, prefix
        self.url = f"s3://{bucket}/{prefix}".rstrip("/")
        try:
            self._client = boto3.client("s3", config=Config(**once) if timeout_s else None)
            if timeout_s:  # a store that never says "go on" costs a second of its own, whatever the timeouts are
                self._client.meta.events.unregister("before-call.s3", add_expect_header)
        except (BotoCoreError, ValueError) as error:  # a ValueError is an endpoint that is no address
            raise StoreError(f"{self.url}: {error}") from error

    def get_tagged(self, key: str) -> tuple[bytes, str]:
        with self._translated(key):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key(key))
            return answer["Body"].read(), answer["ETag"]

    def put(self, key: str, data: bytes) -> None:
        with self._translated(key):
            self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=data)

    def create(self, key: str, data: bytes) -> None:
        try:
            self.swap(key, data, None)
        except SwapLost:
            if self.get(key) != data:
                raise ObjectExists(f"{self.url}/{key}: exists with other bytes") from None

    def swap(self, key: str, data: bytes, tag: str | None) -> None:
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        with self._translated(key, missing=SwapLost):
            self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=data, **condition)

    def list(self, prefix: str) -> list[str]:
        with self._translated(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._key(prefix).rstrip("/") + "/"
            )
            keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        cut = len(self._prefix) + 1 if self._prefix else 0
        return sorted(key[cut:] for key in keys)

    def delete(self, key: str) -> None:
        with self._translated(key):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(key))

    def put_file(self, key: str, path: Path) -> None:
        with self._translated(key):
            self._client.upload_file(str(path), self._bucket, self._key(key))
        path.unlink()

    def local_path(self, key: str) -> Path:
        cache = Path(tempfile.gettempdir()) / f"pipeline-objects-{os.getuid()}"
        cache.mkdir(mode=0o700, exist_ok=True)
        with self._translated(key):
            tag = self._client.head_object(Bucket=self._bucket, Key=self._key(key))["ETag"]
        name = hashlib.sha256(f"{self.url}/{key}@{tag}".encode()).hexdigest() + Path(key).suffix
        if not (cache / name).exists():
            handle, temp = tempfile.mkstemp(dir=cache)
            os.close(handle)
            with self._translated(key):
                self._client.download_file(self._bucket, self._key(key), temp)
            os.replace(temp, cache / name)
        return cache / name

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)

    def _key(self, key: str) -> str:
        return f"{self._prefix}/{_checked(key)}" if self._prefix else _checked(key)

    @contextmanager
    def _translated(self, key: str, missing: type[StoreError] = ObjectMissing) -> Iterator[None]:
        """Errors of botocore and of boto3's transfers in our words: a refusal by its code, the rest as they say it."""
        try:
            yield
        except self._refused as error:
            code = str(error.response.get("Error", {}).get("Code"))
            where = f"{self.url}/{key}"
            if code in {"NoSuchKey", "404", "NotFound"}:
                raise missing(f"{where}: no such object") from error
            if code in {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}:
                raise SwapLost(f"{where}: somebody wrote in between") from error
            raise StoreError(f"{where}: {code}") from error
        except self._failed as error:  # no connection, no credentials, an answer cut short, a failed transfer
            raise StoreError(f"{self.url}/{key}: {error}") from error


def _checked(key: str) -> str:
    parts = key.strip("/").split("/")
    if ".." in parts or (parts and parts[0] in {_TEMP, _LOCKS}):
        raise StoreError(f"not a key of the store: {key!r}")
    return "/".join(part for part in parts if part)


def _unless_missing(error: OSError) -> None:
    """A folder that cannot be read is never an empty one; one that is not there has nothing in it."""
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise StoreError(f"{error.filename} cannot be listed: {error}") from error


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
