"""LightGBM's shared library through its C interface, without the Python package: the fallback and the oracle.

``import lightgbm`` costs 0.6 s and pulls scikit-learn in where that is installed; loading the library alone costs
a tenth. The library is that of the installed package, found without importing it; whether it is the one that a version
was judged with is looked at before a line of it runs.
Source of the calls: LightGBM ``include/LightGBM/c_api.h``, version 4.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from ctypes import byref, c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_void_p
from pathlib import Path

from pipeline_lib.forest import library
from pipeline_lib.forest.layout import Forest
from pipeline_lib.forest.text import text_of
from pipeline_lib.serve.kernel import LibraryFailed
from pipeline_lib.serve.trees import Trees

__all__ = ["Booster", "Library", "LibraryFailed", "find_library"]

log = logging.getLogger(__name__)

_FLOAT32, _RAW = 0, 1
_PARAMETERS = b"num_threads=1 verbosity=-1"


_CALLS = (
    "LGBM_GetLastError", "LGBM_RegisterLogCallback", "LGBM_BoosterLoadModelFromString", "LGBM_BoosterGetNumClasses",
    "LGBM_BoosterGetNumFeature", "LGBM_BoosterPredictForMatSingleRowFastInit",
    "LGBM_BoosterPredictForMatSingleRowFast", "LGBM_FastConfigFree", "LGBM_BoosterFree",
)  # fmt: skip


def find_library(sha256: str | None = None) -> Path:
    """The installed package's library.

    Args:
        sha256: the only bytes that will do, as the manifest has them; None: whatever is installed.

    Raises:
        LibraryFailed: it is not installed, or another one is.
    """
    found = library.installed()
    if found is None:
        raise LibraryFailed(f"no {library.NAME}: LightGBM is not installed here")
    try:
        digest = sha256 if sha256 is None else library.sha256(found)
    except OSError as error:
        raise LibraryFailed(f"{found} cannot be read: {error}") from error
    if digest != sha256:
        raise LibraryFailed(
            f"{found} has SHA-256 {digest}, the version was judged with {sha256 or 'none that it names'}"
        )
    return found


class Library:
    """The loaded library. Loading it runs code of its own: ``find_library`` says whose. Raises LibraryFailed."""

    def __init__(self, path: Path) -> None:
        try:
            self._lib = ctypes.CDLL(str(path))
            for name in _CALLS:
                getattr(self._lib, name)
        except (OSError, AttributeError) as error:
            raise LibraryFailed(f"{path} cannot be loaded: {error}") from error
        self._lib.LGBM_GetLastError.restype = c_char_p
        self._quiet = ctypes.CFUNCTYPE(None, c_char_p)(_to_log)  # kept: the library holds only the pointer
        self._lib.LGBM_RegisterLogCallback(self._quiet)

    def model(self, forest: Forest) -> Booster:
        """The forest as LightGBM reads it. Raises ContractError or LibraryFailed."""
        trees = Trees(forest)  # checks what LightGBM would follow out of its memory
        return Booster(self, forest, text_of(forest).encode(), trees)

    def call(self, name: str, *arguments: object) -> None:
        if getattr(self._lib, name)(*arguments) != 0:
            raise LibraryFailed(f"{name}: {self._lib.LGBM_GetLastError().decode('utf-8', 'replace')}")

    def function(self, name: str) -> ctypes._NamedFuncPointer:
        return getattr(self._lib, name)  # type: ignore[no-any-return]


class Booster:
    """One model, one thread, one row at a time; buffers are made once. NaN is passed on as NaN.

    Args:
        forest: of the same outputs and features.
        text: LightGBM's text, of the forest or as it was trained. trees: the forest, for contributions.
    """

    def __init__(self, library: Library, forest: Forest, text: bytes, trees: Trees) -> None:
        self.forest, self._trees = forest, trees
        self._library, self._handle, self._fast = library, c_void_p(), c_void_p()
        rounds, outputs, width = c_int(), c_int(), c_int()
        library.call("LGBM_BoosterLoadModelFromString", c_char_p(text), byref(rounds), byref(self._handle))
        library.call("LGBM_BoosterGetNumClasses", self._handle, byref(outputs))
        library.call("LGBM_BoosterGetNumFeature", self._handle, byref(width))
        if (outputs.value, width.value) != (forest.outputs, forest.width):
            raise LibraryFailed(f"{outputs.value} outputs of {width.value} features, not those of the forest")
        self._row = (c_float * width.value)()
        self._out, self._out_len = (c_double * outputs.value)(), c_int64()
        library.call(
            "LGBM_BoosterPredictForMatSingleRowFastInit",
            self._handle, c_int(_RAW), c_int(0), c_int(-1), c_int(_FLOAT32),
            c_int32(width.value), c_char_p(_PARAMETERS), byref(self._fast),
        )  # fmt: skip
        self._predict = library.function("LGBM_BoosterPredictForMatSingleRowFast")
        self._arguments = (self._fast, self._row, byref(self._out_len), self._out)

    def raw(self, row: Sequence[float]) -> tuple[float, ...]:
        """Raw scores [outputs] of a row [features], read as float32. Raises LibraryFailed."""
        self._row[:] = list(row)  # plain floats are converted; another length is refused
        if self._predict(*self._arguments) != 0:
            raise LibraryFailed("prediction of one row failed")
        return tuple(self._out)

    def contributions(self, row: Sequence[float], output: int = 0) -> tuple[float, list[float]]:
        """(bias, one value per feature) of the raw score of one output, base score excluded."""
        return self._trees.contributions(row, output)

    def __del__(self) -> None:
        if self._fast:
            self._library.call("LGBM_FastConfigFree", self._fast)
        if self._handle:
            self._library.call("LGBM_BoosterFree", self._handle)


def _to_log(message: bytes) -> None:
    log.debug("lightgbm: %s", message.decode("utf-8", "replace").strip())
