"""Compiled forests through ``forest.c``: one call for a row, nothing parsed, no library but the kernel itself.

The shared object is built when the package is installed and lies beside this file; where there was no compiler it is
missing, and LightGBM's own library answers instead (``engine.py``). A forest is checked by ``forest_check`` before
its first use, so bytes that are wrong raise and never reach outside the file.
"""

from __future__ import annotations

import ctypes
import os

from pipeline_lib.errors import ContractError, PipelineError
from pipeline_lib.forest.layout import PROMISES, VERSION, Forest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "forest"
HERE = os.path.dirname(__file__)


class LibraryFailed(PipelineError):
    """A shared library is missing or refused a call; the message is the library's own."""


def find_kernel(folder: str = HERE) -> str:
    """The built shared object. Raises LibraryFailed."""
    for name in sorted(os.listdir(folder)):
        if name.startswith(f"{NAME}.") and name.endswith(".so"):
            return os.path.join(folder, name)
    raise LibraryFailed(f"no {NAME}.so in {folder}: it was installed without a C compiler")


class Kernel:
    """The loaded kernel. Raises LibraryFailed."""

    def __init__(self, path: str) -> None:
        try:
            # PyDLL keeps the interpreter's lock: a call takes microseconds, and a forest's buffers are its own.
            library = ctypes.PyDLL(path)
            self.check, self.sum, self.credit = library.forest_check, library.forest_sum, library.forest_credit
            built_for = library.forest_layout()
        except (OSError, AttributeError) as error:
            raise LibraryFailed(f"{path} cannot be loaded: {error}") from error
        if built_for != VERSION:
            raise LibraryFailed(f"{path} reads layout {built_for}, this code writes {VERSION}: install again")
        address = ctypes.c_void_p
        self.check.restype, self.check.argtypes = ctypes.c_int64, [address, ctypes.c_uint64]
        self.sum.restype, self.sum.argtypes = ctypes.c_int64, [address] * 4
        self.credit.restype, self.credit.argtypes = ctypes.c_double, [address, address, ctypes.c_uint32, address]

    def model(self, forest: Forest) -> Compiled:
        """Raises ContractError when the file breaks a promise of its layout."""
        return Compiled(self, forest)


class Compiled:
    """One forest, one row at a time; buffers are made once."""

    def __init__(self, kernel: Kernel, forest: Forest) -> None:
        self.forest = forest
        if broken := kernel.check(forest.data, len(forest.data)):
            raise ContractError(f"a compiled forest should have {PROMISES[broken]}")
        self._kernel = kernel
        self._data = ctypes.cast(ctypes.c_char_p(forest.data), ctypes.c_void_p).value
        # ctypes' own arrays: importing `array` brings `collections`, 3 ms of a cold start.
        self._row = (ctypes.c_float * forest.width)()
        self._out = (ctypes.c_double * forest.outputs)()
        self._credit = (ctypes.c_double * forest.width)()
        self._open = (ctypes.c_uint64 * (forest.trees if forest.mask_bits else 0))()
        self._buffers = (ctypes.addressof(self._row), ctypes.addressof(self._out), ctypes.addressof(self._open))

    def raw(self, row: Sequence[float]) -> tuple[float, ...]:
        """Raw scores [outputs] of a row [features], read as float32. Raises LibraryFailed."""
        self._read(row)
        if broken := self._kernel.sum(self._data, *self._buffers):
            raise LibraryFailed(f"a compiled forest should have {PROMISES[broken]}")
        return tuple(self._out)

    def contributions(self, row: Sequence[float], output: int = 0) -> tuple[float, list[float]]:
        """(bias, one value per feature) of the raw score of one output, base score excluded."""
        if not 0 <= output < self.forest.outputs:
            raise IndexError(f"output {output} of {self.forest.outputs}")
        self._read(row)
        bias = self._kernel.credit(self._data, self._buffers[0], output, ctypes.addressof(self._credit))
        return bias, list(self._credit)

    def _read(self, row: Sequence[float]) -> None:
        if len(row) != self.forest.width:
            raise ContractError(f"a row of {len(row)} values for {self.forest.width} features")
        self._row[:] = row
