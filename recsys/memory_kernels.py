"""Asking for memory ahead: a loop that reads anywhere in a large array would wait for memory at each of its steps."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

LINE = 64
"""Bytes in a line of the processor's cache."""


def _ask_for(context: Any, array: Any, start: Any, stop: Any) -> Any:  # noqa: ARG001 - as numba calls it
    """Bring the lines of some places of an array to the processor, without waiting for them.

    Args:
        context: numba's.
        array: of any type and dimensions, row by row.
        start: the first of the places, counted row by row.
        stop: the one behind the last.
    """
    if array.layout != "C":
        raise TypingError("the array must be row by row")

    def lines(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, address = context.make_array(signature.args[0])(context, builder, arguments[0]).data, arguments[1].type
        first, end = (builder.ptrtoint(builder.gep(data, [place]), address) for place in arguments[1:])
        first = builder.and_(first, address(-LINE))
        number, place = ir.IntType(32), ir.IntType(8).as_pointer()
        form = ir.FunctionType(ir.VoidType(), [place, number, number, number])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [place], form)
        to_read, nearest, no_code = number(0), number(3), number(1)
        with cgutils.for_range_slice(builder, first, end, address(LINE)) as (line, _):
            builder.call(prefetch, [builder.inttoptr(line, place), to_read, nearest, no_code])
        return context.get_dummy_value()

    return types.none(array, types.intp, types.intp), lines


ask_for: Any = intrinsic(_ask_for)
