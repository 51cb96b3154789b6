"""LightGBM's shared library through its C interface, without the Python package.

``import lightgbm`` costs 0.6 s and pulls scikit-learn in where that is installed; loading the library alone costs
a tenth. The library is the one of the installed package (found without importing it) or ``lib/`` in the bundle.
Source of the calls: LightGBM ``include/LightGBM/c_api.h``, version 4.
"""

from __future__ import annotations

import ctypes
import logging
from ctypes import POINTER, byref, c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_void_p
from importlib.util import find_spec
from pathlib import Path

from pipeline_lib.errors import PipelineError

log = logging.getLogger(__name__)

_FLOAT32, _NORMAL, _RAW = 0, 0, 1
_NAME_BYTES = 256
_PARAMETERS = b"num_threads=1 verbosity=-1"


class LibraryFailed(PipelineError):
    """The shared library is missing or refused a call; the message is LightGBM's own."""


def find_library(bundle: Path | None = None) -> Path:
    """``lib/lib_lightgbm.so`` of the bundle, else the installed package's. Raises LibraryFailed."""
    places = [bundle / "lib" / "lib_lightgbm.so"] if bundle else []
    places += [Path("/opt/lib/lib_lightgbm.so")]  # where a Lambda layer puts shared libraries
    spec = find_spec("lightgbm")
    for folder in spec.submodule_search_locations or () if spec else ():
        places += [Path(folder) / "lib" / "lib_lightgbm.so", Path(folder) / "lib_lightgbm.so"]
    for place in places:
        if place.is_file():
            return place
    raise LibraryFailed(f"no lib_lightgbm.so at {[str(place) for place in places]}")


class Library:
    """The loaded library. OpenMP is taken from beside it when it is there: a bare runtime may lack it."""

    def __init__(self, path: Path) -> None:
        openmp = path.with_name("libgomp.so.1")
        try:
            if openmp.is_file():
                ctypes.CDLL(str(openmp), mode=ctypes.RTLD_GLOBAL)
            self._lib = ctypes.CDLL(str(path))
        except OSError as error:
            raise LibraryFailed(f"{path} cannot be loaded: {error}") from error
        self._lib.LGBM_GetLastError.restype = c_char_p
        self._quiet = ctypes.CFUNCTYPE(None, c_char_p)(_to_log)  # kept: the library holds only the pointer
        self._lib.LGBM_RegisterLogCallback(self._quiet)

    def call(self, name: str, *arguments: object) -> None:
        if getattr(self._lib, name)(*arguments) != 0:
            raise LibraryFailed(f"{name}: {self._lib.LGBM_GetLastError().decode('utf-8', 'replace')}")

    def function(self, name: str) -> ctypes._NamedFuncPointer:
        return getattr(self._lib, name)  # type: ignore[no-any-return]


class Booster:
    """One model, one thread, one row at a time; buffers are made once. NaN is passed on as NaN.

    Args:
        model: bytes of LightGBM's text format.
        raw: raw scores (before the objective's own transform) instead of probabilities or values.
    """

    def __init__(self, library: Library, model: bytes, raw: bool) -> None:
        self._library, self._handle, self._fast = library, c_void_p(), c_void_p()
        rounds, outputs, width = c_int(), c_int(), c_int()
        library.call("LGBM_BoosterLoadModelFromString", c_char_p(model), byref(rounds), byref(self._handle))
        library.call("LGBM_BoosterGetNumClasses", self._handle, byref(outputs))
        library.call("LGBM_BoosterGetNumFeature", self._handle, byref(width))
        self.outputs, self.width = outputs.value, width.value
        self.features = self._names()
        self._row = (c_float * self.width)()
        self._out, self._out_len = (c_double * self.outputs)(), c_int64()
        library.call(
            "LGBM_BoosterPredictForMatSingleRowFastInit",
            self._handle, c_int(_RAW if raw else _NORMAL), c_int(0), c_int(-1), c_int(_FLOAT32),
            c_int32(self.width), c_char_p(_PARAMETERS), byref(self._fast),
        )  # fmt: skip
        self._predict = library.function("LGBM_BoosterPredictForMatSingleRowFast")
        self._arguments = (self._fast, self._row, byref(self._out_len), self._out)

    def predict(self, row: list[float]) -> tuple[float, ...]:
        """Outputs of one row (``width`` float32 values in the booster's feature order)."""
        self._row[:] = row  # type: ignore[assignment]  # plain floats are converted
        if self._predict(*self._arguments) != 0:
            raise LibraryFailed("prediction of one row failed")
        return tuple(self._out)

    def __del__(self) -> None:
        if self._fast:
            self._library.call("LGBM_FastConfigFree", self._fast)
        if self._handle:
            self._library.call("LGBM_BoosterFree", self._handle)

    def _names(self) -> tuple[str, ...]:
        buffers = [ctypes.create_string_buffer(_NAME_BYTES) for _ in range(self.width)]
        pointers = (c_void_p * self.width)(*(ctypes.addressof(buffer) for buffer in buffers))
        count, needed = c_int(), c_size_t()
        self._library.call(
            "LGBM_BoosterGetFeatureNames", self._handle, c_int(self.width), byref(count), c_size_t(_NAME_BYTES),
            byref(needed), ctypes.cast(pointers, POINTER(c_char_p)),
        )  # fmt: skip
        return tuple(buffer.value.decode("utf-8") for buffer in buffers)


def _to_log(message: bytes) -> None:
    log.debug("lightgbm: %s", message.decode("utf-8", "replace").strip())
