"""Where a version serves: a folder on a laptop, an alias of a Lambda function in production. One interface."""

from __future__ import annotations

from urllib.parse import parse_qs, urlparse

from pipeline_lib.errors import SettingsError
from pipeline_lib.publish.targets.base import Target

__all__ = ["Target", "open_target"]


def open_target(url: str) -> Target:
    """The target at ``file:///folder`` or ``lambda:<function>[?role=<arn>]``.

    Raises:
        SettingsError: another form.
    """
    parts = urlparse(url)
    if parts.scheme == "file" and parts.path.startswith("/"):
        from pipeline_lib.publish.targets.local_target import LocalTarget

        return LocalTarget.at(parts.path)
    if parts.scheme == "lambda" and parts.path:
        from pipeline_lib.publish.targets.lambda_target import LambdaTarget

        return LambdaTarget(parts.path, role=next(iter(parse_qs(parts.query).get("role", [])), None))
    raise SettingsError(f"a release target is file:///folder or lambda:<function>, found {url!r}")
