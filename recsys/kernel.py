"""Loops over arrays that are compiled: what numpy can only say with sorting and many passes.

A kernel is a function of arrays and numbers alone. It is compiled at its first call and kept beside the source, so that
the next process starts with machine code, and it lets go of the interpreter's lock while it runs, if it is not brief.

A kernel may take constants and kernels from other modules: what is kept is stamped with the contents of all files that
hold kernels, which are those named ``*_kernels.py``, and made anew when one of them changes.

It is compiled once for each combination of the arguments' types, and an array that may be written to has another type
than one that may not: what comes from a bundle's files at one time, and from training at another, is passed on as
:func:`frozen`. So there is one variant of each kernel, and no request ever waits for the compiler.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.core.caching import IndexDataCacheFile
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)
Function = TypeVar("Function", bound=Callable[..., object])


def _stamp() -> str:
    """Of all files that hold kernels."""
    contents = (path.read_bytes() for path in sorted(Path(__file__).parent.glob("*_kernels.py")))
    return hashlib.sha256(b"".join(contents)).hexdigest()


STAMP = _stamp()


def kernel(function: Function) -> Function:
    """The compiled function; where no folder for compiled code can be written, every process compiles it anew."""
    return _compiled(function, nogil=True, _nrt=True)


def brief_kernel(function: Function) -> Function:
    """The same, but it keeps the interpreter's lock: for what takes less time than to get that back."""
    return _compiled(function, nogil=False, _nrt=True)


def inner_kernel(function: Function) -> Function:
    """The same, for kernels to call: one that neither makes an array nor returns one.

    It borrows all arrays and does not count who uses them, for which a kernel takes an atomic instruction at each view
    of a row and for each array of a named tuple, time and again.
    """
    return _compiled(function, nogil=True, _nrt=False)


def _compiled(function: Function, **options: Any) -> Function:
    try:
        compiled: Any = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # a read-only installation, and no home
        return cast("Function", numba.njit(**options)(function))
    if hasattr(compiled, "_cache"):  # else nothing is compiled, for debugging
        # numba looks at the function's own file alone, has no way to be told of others, and gives two versions of
        # compiled code one name, under which processes of both would write.
        kept, name = compiled._cache, f"{STAMP[:12]}.{compiled._cache._impl.filename_base}"  # noqa: SLF001
        kept._cache_file = IndexDataCacheFile(kept.cache_path, name, STAMP)  # type: ignore[no-untyped-call] # noqa: SLF001
    return cast("Function", compiled)


def has(context: Any, feature: str) -> bool:
    """Whether code is compiled for a processor that has a feature: of those that numba keeps compiled code by."""
    return f"+{feature}" in context.codegen().magic_tuple()[2].split(",")


def frozen(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """The array as if mapped from a file, which may not be written to; no copy."""
    if not array.flags.writeable:
        return array
    view = array.view()
    view.setflags(write=False)
    return view
