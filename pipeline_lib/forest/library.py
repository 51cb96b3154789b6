"""Where LightGBM's shared library lies, found without importing LightGBM, and which one it is.

A version is packaged beside the library that trained its models; that one's hash goes into the signed manifest, and
no other may answer for the kernel: another version of LightGBM may read the same text differently.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

NAME = "lib_lightgbm.so"


def installed() -> Path | None:
    """The library of the installed package ``lightgbm``, or None."""
    spec = find_spec("lightgbm")
    folders = [Path(folder) for folder in (spec.submodule_search_locations if spec else None) or ()]
    places = [place for folder in folders for place in (folder / "lib" / NAME, folder / NAME)]
    return next((place for place in places if place.is_file()), None)


def sha256(path: Path) -> str:
    """Hex SHA-256 of a library's bytes. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
