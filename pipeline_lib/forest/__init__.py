"""A LightGBM model as one file that is used where it lies: nothing is parsed when the function starts.

    layout.py    what the file holds and where; opening it        compiling.py  LightGBM's text -> the file
    text.py      the file -> LightGBM's text, for its own library

The file decides every float32 row exactly as LightGBM does and adds the same leaf values in the same order, so the
scores are equal to the last bit. Packaging writes it, serving reads it; neither needs LightGBM or NumPy for that.

``students/<task>/model.txt``, the text the student was trained as, stays in the registered version as evidence;
``model.forest`` beside it is what serves.
"""

from __future__ import annotations

SUFFIX = ".forest"


def compiled(path: str) -> str | None:
    """The compiled file beside a model's text in a package, or None: the path is no model's text."""
    if path.startswith("students/") and path.endswith(".txt"):
        return path.removesuffix(".txt") + SUFFIX
    return None
