"""The one part that is compiled: the kernel that serves forests, plain C without Python.h, loaded by ctypes.

Everything else is in pyproject.toml. Without a compiler the kernel is left out and LightGBM's library predicts.
"""

from setuptools import Extension, setup

KERNEL = Extension(
    "pipeline_lib.serve.kernel.forest",
    sources=["pipeline_lib/serve/kernel/forest.c"],
    extra_compile_args=["-std=c11", "-O3", "-ffreestanding", "-fno-tree-loop-distribute-patterns"],
    extra_link_args=["-nostdlib"],
    optional=True,
)

setup(ext_modules=[KERNEL])
