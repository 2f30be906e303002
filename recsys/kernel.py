"""Loops over arrays that are compiled: what numpy can only say with sorting and many passes.

A kernel is a function of arrays and numbers alone. It is compiled at its first call and kept beside the source, so that
the next process starts with machine code, and it lets go of the interpreter's lock while it runs.

What is kept is made anew when the kernel's own file changes, and only then: a kernel must take nothing from other
modules, neither constants nor kernels, but as an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def kernel(function: Function) -> Function:
    """The compiled function; where no folder for compiled code can be written, every process compiles it anew."""
    try:
        return cast("Function", numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # a read-only installation, and no home
        return cast("Function", numba.njit(nogil=True)(function))
