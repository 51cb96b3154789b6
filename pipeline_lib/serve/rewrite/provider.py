"""Whom a rewrite may be asked of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

from pipeline_lib.errors import PipelineError, SettingsError


class ProviderFailed(PipelineError):
    """No answer: refused, too late, unreachable or not a text."""


@dataclass(frozen=True)
class Prompt:
    """One question. The hash identifies it in the record and in a recording."""

    system: str
    text: str
    temperature: float

    @property
    def sha256(self) -> str:
        body = json.dumps([self.system, self.text, self.temperature], ensure_ascii=False)
        return sha256(body.encode("utf-8")).hexdigest()


class Provider(Protocol):
    """``name`` is what the record calls it: provider and model."""

    name: str

    def ask(self, prompt: Prompt) -> str:
        """Raises ProviderFailed."""


def open_provider(policy: Mapping[str, Any], recording: str = "") -> Provider | None:
    """The provider that ``serving.l2a`` names; None: nothing is rewritten.

    Args:
        recording: file of JSON lines that the provider ``recorded`` replays.

    Raises:
        SettingsError: the provider is not known, or its recording is not there.
    """
    if policy["provider"] == "none":
        return None
    if policy["provider"] == "bedrock":
        from pipeline_lib.serve.rewrite.bedrock import Bedrock

        each = float(policy["timeout_s"]) / int(policy["max_calls"])
        return Bedrock(str(policy["model_id"]), int(policy["max_tokens"]), each)
    if policy["provider"] == "recorded":
        from pipeline_lib.serve.rewrite.recorded import Recorded

        return Recorded.read(recording)
    raise SettingsError(f"serving.l2a.provider: {policy['provider']!r} found, expected none, bedrock or recorded")
