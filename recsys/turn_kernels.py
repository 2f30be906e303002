"""Turning tables: what stands row by row, column by column, as many rows at once as a line of memory has numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from recsys.kernel import kernel
from recsys.memory_kernels import LINE
from recsys.types import Float32s

WORDS = LINE // 4
"""Words of 32 bits in a line: as many as rows that are turned at once."""


def columns_of(builder: Any, rows: list[Any]) -> list[Any]:
    """The columns of a square of words, in turns: of each four parts of it two change places, and so on inside them."""
    size = len(rows) // 2
    while size:
        for at in [row for row in range(len(rows)) if not row & size]:
            upper, lower = rows[at], rows[at + size]
            for to, shift in ((at, 0), (at + size, size)):
                places = [
                    column + shift if not column & size else len(rows) + column - size + shift
                    for column in range(len(rows))
                ]
                mask = ir.Constant(ir.VectorType(ir.IntType(32), len(rows)), places)
                rows[to] = builder.shuffle_vector(upper, lower, mask)
        size //= 2
    return rows


def _turn(context: Any, columns: Any, place: Any, step: Any, rows: Any, start: Any, width: Any) -> Any:  # noqa: ARG001 - as numba calls it
    """Write WORDS rows of numbers column by column: as many columns as are asked for, up to WORDS.

    Args:
        context: numba's.
        columns: float32[...].
        place: uint64, where the first column begins in it.
        step: uint64, how many places on the next one begins.
        rows: float32[...], of which WORDS are read from the beginning of each row on, whatever its width.
        start: uint64, where the first row begins in it.
        width: uint64, of a row: the number of columns.
    """
    if not columns.layout == rows.layout == "C":
        raise TypingError("the arrays must be row by row")

    def lines(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made, given = (context.make_array(signature.args[at])(context, builder, arguments[at]).data for at in (0, 3))
        place, step, start, width = (arguments[at] for at in (1, 2, 4, 5))
        vector, number = ir.VectorType(ir.FloatType(), WORDS), ir.IntType(64)

        def at(array: Any, first: Any, size: Any, which: int) -> Any:
            offset = builder.add(first, builder.mul(size, number(which)))
            return builder.bitcast(builder.gep(array, [offset]), vector.as_pointer())

        own = [builder.load(at(given, start, width, row), align=4) for row in range(WORDS)]
        for column, turned in enumerate(columns_of(builder, own)):
            with builder.if_then(builder.icmp_unsigned("<", number(column), width)):
                builder.store(turned, at(made, place, step, column), align=4)
        return context.get_dummy_value()

    number = types.uint64
    return types.none(columns, number, number, rows, number, number), lines


_fill_columns: Any = intrinsic(_turn)


@kernel
def turn(columns: Float32s, place: int, step: int, rows: Float32s) -> None:
    """Write the columns of some rows to an array.

    Args:
        columns: float32[...], row by row: columns[place + step * c + r] becomes rows[r, c].
        place: see there.
        step: see there.
        rows: float32[n, w], row by row.
    """
    given, made, width, done = rows.ravel(), columns.ravel(), np.uint64(rows.shape[1]), np.uint64(0)
    first, each, n = np.uint64(place), np.uint64(step), np.uint64(len(rows))
    if width <= WORDS:
        while (done + np.uint64(WORDS - 1)) * width + np.uint64(WORDS) <= len(given):
            _fill_columns(made, first + done, each, given, done * width, width)
            done += np.uint64(WORDS)
    for row in range(done, n):
        for column in range(width):
            made[first + column * each + row] = given[row * width + column]
