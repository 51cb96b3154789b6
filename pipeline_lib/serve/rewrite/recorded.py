"""Answers that were given once: a JSON line ``{"prompt": <sha256>, "answer": <text>}`` each. For tests and demos."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pipeline_lib.errors import SettingsError
from pipeline_lib.serve.rewrite.provider import Prompt, ProviderFailed


class Recorded:
    name = "recorded"

    def __init__(self, answers: Mapping[str, str]) -> None:
        self._answers = answers

    @classmethod
    def read(cls, path: str) -> Recorded:
        """Raises SettingsError naming file and line."""
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise SettingsError(f"recorded answers {path!r}: {error.strerror}") from error
        answers = {}
        for number, line in enumerate(lines, 1):
            try:
                found = json.loads(line)
                answers[str(found["prompt"])] = str(found["answer"])
            except (ValueError, KeyError, TypeError) as error:
                raise SettingsError(f"{path}:{number}: expected prompt and answer, found {error}") from error
        return cls(answers)

    def ask(self, prompt: Prompt) -> str:
        """Raises ProviderFailed for a question that was never recorded."""
        if prompt.sha256 not in self._answers:
            raise ProviderFailed(f"recorded: no answer to {prompt.sha256}")
        return self._answers[prompt.sha256]
