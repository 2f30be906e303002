"""Loops over arrays that are compiled: what numpy can only say with sorting and many passes.

A kernel is a function of arrays and numbers alone. It is compiled at its first call and kept beside the source, so that
the next process starts with machine code, and it lets go of the interpreter's lock while it runs.

What is kept is made anew when the kernel's own file changes, and only then: a kernel must take nothing from other
modules, neither constants nor kernels, but as an argument.

It is compiled once for each combination of the arguments' types, and an array that may be written to has another type
than one that may not: what comes from a bundle's files at one time, and from training at another, is passed on as
:func:`frozen`. So there is one variant of each kernel, and no request ever waits for the compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)
Function = TypeVar("Function", bound=Callable[..., object])


def kernel(function: Function) -> Function:
    """The compiled function; where no folder for compiled code can be written, every process compiles it anew."""
    try:
        return cast("Function", numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # a read-only installation, and no home
        return cast("Function", numba.njit(nogil=True)(function))


def frozen(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """The array as if mapped from a file, which may not be written to; no copy."""
    view = array.view()
    view.setflags(write=False)
    return view
