"""What every command that a person answers for has in common: who types, why, and how it is shown."""

from __future__ import annotations

import argparse
import os
import pwd
from collections.abc import Callable
from typing import Any

from pipeline_lib.errors import RequestRefused
from pipeline_lib.settings import Settings

Shown = dict[str, Any]


def person() -> str:
    """Who is typing: the system user of this process, which the environment cannot claim."""
    return pwd.getpwuid(os.getuid()).pw_name


def operator(asked: argparse.Namespace) -> str:
    """``--operator``, which must be who types. Raises RequestRefused."""
    if asked.operator != person():
        raise RequestRefused(f"operator {asked.operator!r} is not who is typing, {person()!r}")
    return str(asked.operator)


def command(
    acts: Any, name: str, act: Callable[[Settings, argparse.Namespace], Shown], text: str
) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = acts.add_parser(name, help=text, description=text)
    made.add_argument("--json", action="store_true", help="one JSON object instead of text, errors too")
    made.set_defaults(act=act)
    return made


def add_person(made: argparse.ArgumentParser) -> None:
    made.add_argument("--operator", required=True, help="your system user, as `whoami` prints it")
    made.add_argument("--reason", required=True, help="what happened, in 10 to 500 characters")
