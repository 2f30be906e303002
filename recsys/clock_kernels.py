"""The time, as compiled code reads it."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

MONOTONIC = 1
"""The clock that :func:`time.monotonic` reads on Linux: of clock_gettime (POSIX)."""


def _seconds(context: Any) -> Any:  # noqa: ARG001 - as numba calls it
    """Seconds since some moment, float64."""

    def lines(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001 - as numba calls it
        whole, number, real = ir.IntType(32), ir.IntType(64), ir.DoubleType()
        form = ir.FunctionType(whole, [whole, number.as_pointer()])
        read = cgutils.get_or_insert_function(builder.module, form, "clock_gettime")  # type: ignore[no-untyped-call]
        told = cgutils.alloca_once(builder, number, size=2)  # type: ignore[no-untyped-call]
        builder.call(read, [whole(MONOTONIC), told])
        seconds, nanos = (builder.sitofp(builder.load(builder.gep(told, [number(place)])), real) for place in range(2))
        return builder.fadd(seconds, builder.fmul(nanos, real(1e-9)))

    return types.float64(), lines


seconds: Any = intrinsic(_seconds)
