"""``pipeline witness export``: the newest signed checkpoint, for somebody outside to keep, as a mail to internal audit.

pipeline witness export > note.txt                 print it
pipeline witness export --to s3://bucket/prefix    write it there under its number; never over another one
pipeline verify --witness note.txt ...             compare notes that were kept with the record
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline_lib.errors import RequestRefused
from pipeline_lib.settings import Settings


def add(verbs: Any, run: Callable[[Settings, argparse.Namespace], int]) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = verbs.add_parser(
        "witness", help="hand out the newest checkpoint", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    made.add_argument("what", choices=["export"])
    made.add_argument("--to", metavar="URL", help="file:///folder or s3://bucket/prefix; printed when left out")
    made.set_defaults(run=run, act=export)
    return made


def export(settings: Settings, asked: argparse.Namespace) -> tuple[int, str]:
    """The newest note, or where it was written."""
    from pipeline_lib.audit import witness

    return 0, witness.export(settings, asked.to) if asked.to else witness.newest(settings)[1].decode().rstrip("\n")


def kept(files: list[Path]) -> dict[str, bytes]:
    """Kept notes by name. Raises RequestRefused for a file that cannot be read."""
    try:
        return {str(file): file.read_bytes() for file in files}
    except OSError as error:
        raise RequestRefused(f"{error.filename}: {error.strerror}") from error
