"""SQL lives in files: ``load("features/spend")`` is the statement of ``sql/features/spend.sql``.

Each file opens with comments that give its grain, units, parameters and sources. Values reach a statement only
as named parameters (``$cutoff``); reports cite the digest, so that an auditor can run the exact question again.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "sql"
_PARAMETER = re.compile(r"(?<![\w$])\$([a-z_][a-z0-9_]*)")
_COMMENT = re.compile(r"--[^\n]*")


@dataclass(frozen=True)
class Statement:
    name: str
    text: str
    parameters: frozenset[str]
    digest: str


@cache
def load(name: str) -> Statement:
    """Raises FileNotFoundError naming the file when there is no such statement."""
    text = (ROOT / f"{name}.sql").read_text(encoding="utf-8")
    parameters = frozenset(_PARAMETER.findall(_COMMENT.sub("", text)))
    return Statement(name, text, parameters, hashlib.sha256(text.encode()).hexdigest())


def names() -> list[str]:
    """Every statement of the project."""
    return sorted(path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.rglob("*.sql"))
