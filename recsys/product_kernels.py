"""Inner products of pairs, summed in an order that lets a processor multiply sixteen numbers at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from recsys.half_kernels import FLOAT, like, widened
from recsys.kernel import has, inner_kernel
from recsys.memory_kernels import ask_for
from recsys.types import Float32s, Int32s, UInt16s

AHEAD = 24
"""Rows that are asked for ahead."""
LANES = 16
"""Sums that are added to at once."""
STEP = 4 * LANES
"""Columns that are multiplied at once."""


def _dot(*, portable: bool) -> Any:
    """The intrinsic of an inner product.

    Args:
        portable: whether the instruction for half precision is never used.
    """

    def typed(context: Any, one: Any, first: Any, other: Any, second: Any, width: Any) -> Any:  # noqa: ARG001 - as numba calls it
        """The inner product of ``width`` numbers of each of two tables, row by row, from two places on.

        The first is float32[n, d]; the second may also be uint16[n, d], the bits of float16. In numba's Python the sums
        would be an array, written to memory and read again for each pair.
        """
        if not one.layout == other.layout == "C":
            raise TypingError("tables must be row by row")
        lane, vector = ir.IntType(32), ir.VectorType(FLOAT, LANES)

        def lines(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            quick = not portable and has(context, "f16c")

            def multiplied(form: Any, at: Any) -> Any:
                return builder.fmul(*(read(form, table, at) for table in (0, 2)))

            def read(form: Any, table: int, at: Any) -> Any:
                data = context.make_array(signature.args[table])(context, builder, arguments[table]).data
                place = builder.gep(data, [builder.add(arguments[table + 1], at)])
                if signature.args[table].dtype == types.float32:
                    return builder.load(builder.bitcast(place, form.as_pointer()), align=4)
                bits = builder.load(builder.bitcast(place, like(form, ir.IntType(16)).as_pointer()), align=2)
                return widened(builder, bits, form, portable=not quick)

            def half(lanes: Any, width: int, start: int) -> Any:
                places = ir.Constant(ir.VectorType(lane, width), list(range(start, start + width)))
                return builder.shuffle_vector(lanes, lanes, places)

            end = arguments[4]
            size, zeros = end.type, ir.Constant(vector, [0.0] * LANES)
            summed = cgutils.alloca_once_value(builder, zeros)  # type: ignore[no-untyped-call]
            whole = builder.sub(end, builder.urem(end, size(STEP)))
            with cgutils.for_range_slice(builder, size(0), whole, size(STEP)) as (start, _):
                a, b, c, d = (multiplied(vector, builder.add(start, size(line))) for line in range(0, STEP, LANES))
                own = builder.fadd(builder.fadd(a, b), builder.fadd(c, d))
                builder.store(builder.fadd(builder.load(summed), own), summed)
            lanes = builder.load(summed)
            for count in (8, 4, 2, 1):
                lanes = builder.fadd(half(lanes, count, 0), half(lanes, count, count))
            in_lanes = builder.extract_element(lanes, lane(0))
            total = cgutils.alloca_once_value(builder, in_lanes)  # type: ignore[no-untyped-call]
            with cgutils.for_range_slice(builder, whole, end, size(1)) as (at, _):
                builder.store(builder.fadd(builder.load(total), multiplied(FLOAT, at)), total)
            return builder.load(total)

        return types.float32(one, types.intp, other, types.intp, types.intp), lines

    return intrinsic(typed)


_product: Any = _dot(portable=False)
portable_product: Any = _dot(portable=True)


@inner_kernel
def products(query: Int32s, item: Int32s, vectors: Float32s, factors: Float32s | UInt16s, score: Float32s) -> None:
    """The inner product of a query's vector and an item's factors, for each pair, in one loop: a call costs as much.

    Args:
        query: int32[n].
        item: int32[n].
        vectors: float32[q, d].
        factors: float32[n_items, d]; or uint16[n_items, d], the bits of float16.
        score: float32[n], which is written.

    Rows lie anywhere in memory, and a product alone would wait for each: several are asked for ahead.
    """
    width, count, ahead = factors.shape[1], np.uint64(len(query)), np.uint64(AHEAD)
    for pair in range(min(ahead, count)):
        ask_for(factors, item[pair] * width, (item[pair] + 1) * width)
    for pair in range(count):
        if pair + ahead < count:
            start = item[pair + ahead] * width
            ask_for(factors, start, start + width)
        score[pair] = _product(vectors, query[pair] * width, factors, item[pair] * width, width)
