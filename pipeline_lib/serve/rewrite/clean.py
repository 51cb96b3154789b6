"""What goes into a question, and what of an answer is looked at further."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_lib.serve.guardrail import INJECTION

MAX_INPUT = 300
"""Longest piece of policy or product text that enters a question [characters]."""
_SPACES = re.compile(r"\s+")


def sanitise(text: str) -> str:
    """One line of plain text: compatibility forms resolved, control and invisible characters gone."""
    folded = unicodedata.normalize("NFKC", text)
    visible = "".join(letter if unicodedata.category(letter)[0] != "C" else " " for letter in folded)
    return _SPACES.sub(" ", visible).strip()


def injected(pieces: Sequence[str]) -> bool:
    """Whether a piece tries to give the model orders, or is too long to be what it says it is."""
    return any(INJECTION.search(piece) or len(piece) > MAX_INPUT for piece in pieces)


def malformed(text: str, locale: str, policy: Mapping[str, Any]) -> str | None:
    """Why an answer is no text of ours: ``length``, ``structure``, ``language`` or ``characters``; None: it is one."""
    if text != sanitise(text):
        return "characters"
    if not int(policy["min_len"]) <= len(text) <= int(policy["max_len"]):
        return "length"
    if text[0] in "{[(<\"'`*#-":
        return "structure"
    return None if locale != "ko" or _hangul_share(text) >= float(policy["hangul_share"]) else "language"


def _hangul_share(text: str) -> float:
    """Of the letters; digits, spaces and marks are none."""
    letters = [letter for letter in text if letter.isalpha()]
    return sum("가" <= letter <= "힣" for letter in letters) / len(letters) if letters else 0.0
