"""The loops of a forest: codes of the features, and each tree from its leaves up, for a block of rows at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from recsys.kernel import kernel
from recsys.memory_kernels import LINE
from recsys.types import Array, Float32s, Int64s

BLOCK = 256
"""Rows that are worked together: of one byte each, four vectors of a processor that has the longest."""
STEP = 16
"""Thresholds that are compared at once."""
UNREACHED = 255
"""The code of a missing value where it counts as larger than all thresholds."""


def _count(context: Any, thresholds: Any, first: Any, value: Any) -> Any:  # noqa: ARG001 - as numba calls it
    """How many of the STEP thresholds (float32[m]) from one on (uint64) a float32 reaches, as uint64; NaN: none.

    In numba's Python this count would be a sum of 16 numbers; a processor does it with a compare and a count of bits.
    """

    def lines(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        vector = ir.VectorType(ir.FloatType(), STEP)
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), vector.as_pointer())
        nothing, zeros = ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), STEP), [0] * STEP)
        one = builder.insert_element(nothing, arguments[2], ir.Constant(ir.IntType(32), 0))
        reached = builder.fcmp_ordered("<=", builder.load(place, align=4), builder.shuffle_vector(one, nothing, zeros))
        return builder.zext(builder.ctpop(builder.bitcast(reached, ir.IntType(STEP))), ir.IntType(64))

    return types.uint64(thresholds, first, value), lines


_reached: Any = intrinsic(_count)


@kernel
def score(
    features: Float32s,
    column: Int64s,
    starts: Int64s,
    thresholds: Float32s,
    bars: Float32s,
    nodes: Array,
    bounds: Int64s,
    leaves: Float32s,
    layers: int,
    base: float,
) -> Float32s:
    """float32[n]: the score of each row, block of rows by block; of :class:`recsys.forest.Forest` all else.

    Args:
        features: float32[n, f], NaN where missing.
        column: int64[c].
        starts: int64[c + 1].
        thresholds: float32[m].
        bars: float32[STEP * c].
        nodes: NODE[k].
        bounds: int64[t + 1].
        leaves: float32[t, 256].
        layers: that a tree needs at once.
        base: score of a row before any tree.
    """
    n, width = features.shape
    values, scores = features.ravel(), np.empty(n, dtype=np.float32)
    codes, stack = _in_lines(2 * len(column) * BLOCK), _in_lines(layers * BLOCK)
    summed = np.empty(BLOCK, dtype=np.float32)
    for start in range(0, n, BLOCK):
        rows = min(BLOCK, n - start)
        own = values[start * width : (start + rows) * width]
        codes[0] = _read(own) > 0  # to be written over
        for number in range(len(column)):
            place = slice(starts[number], starts[number + 1])
            _fill_codes(codes, number, own[column[number] :], width, thresholds[place], bars[STEP * number :])
            _turn_missing(codes, number * BLOCK, (len(column) + number) * BLOCK)
        for row in range(BLOCK):
            summed[row] = base
        for tree in range(len(bounds) - 1):
            _walk(stack, codes, nodes[bounds[tree] : bounds[tree + 1]])
            for row in range(np.uint64(BLOCK)):
                summed[row] += leaves[tree, stack[row]]
        for row in range(rows):
            scores[start + row] = summed[row]
    return scores


@kernel
def _in_lines(size: int) -> Array:
    """uint8[size], of which each LINE bytes are one line of the cache, so that no vector lies in two."""
    memory = np.empty(size + LINE, dtype=np.uint8)
    first = -memory.ctypes.data % LINE
    return memory[first : first + size]


@kernel
def _read(values: Float32s) -> np.float32:
    """Bring memory into the cache from its beginning to its end, which is faster than by columns, or to ask for it."""
    warm = np.float32(0)
    for place in range(0, len(values), LINE // 4):
        warm += values[place]
    return warm


@kernel
def _fill_codes(codes: Array, number: int, values: Float32s, width: int, thresholds: Float32s, bars: Float32s) -> None:
    """The codes of one column: of how many thresholds a value reaches, counting one that all but a missing one reach.

    Args:
        codes: uint8[2 * c * BLOCK].
        number: of the column of codes.
        values: float32, of which each ``width``-th is of the feature.
        width: of the features.
        thresholds: float32, rising: -inf, those of the column, and NaN, which nothing reaches, to a multiple of STEP.
        bars: float32[STEP or more], the last of each STEP thresholds, and NaN.
    """
    first, step, rows = np.uint64(number * BLOCK), np.uint64(width), np.uint64(-(-len(values) // width))
    if len(thresholds) == STEP:
        for row in range(rows):
            codes[first + row] = _reached(thresholds, np.uint64(0), values[row * step])
    else:
        for row in range(rows):
            value = values[row * step]
            passed = np.uint64(STEP) * _reached(bars, np.uint64(0), value)
            codes[first + row] = passed + _reached(thresholds, passed, value)


@kernel
def _turn_missing(codes: Array, source: int, target: int) -> None:
    """The codes of one column where missing values, which are below all thresholds there, are above all here."""
    first, other = np.uint64(source), np.uint64(target)
    for row in range(np.uint64(BLOCK)):
        code = codes[first + row]
        codes[other + row] = code or np.uint8(UNREACHED)


@kernel
def _walk(stack: Array, codes: Array, nodes: Array) -> None:
    """The leaf of one tree for each row of a block, which becomes the first layer of the stack.

    All positions are unsigned: with signed ones, which may count from the end, the loops would not become vector
    instructions.
    """
    top, layer = np.uint64(0), np.uint64(BLOCK)
    for place in range(len(nodes)):
        node = nodes[place]
        upper, left, right = np.uint64(node.upper), np.uint64(node.left), np.uint64(node.right)
        upper_bar, left_bar, right_bar = node.upper_bar, node.left_bar, node.right_bar
        if node.joins:
            top -= layer * np.uint64(4)
            for row in range(layer):
                a, b = stack[top + row], stack[top + layer + row]
                c, d = stack[top + np.uint64(2 * BLOCK) + row], stack[top + np.uint64(3 * BLOCK) + row]
                is_left, is_a, is_c = (
                    codes[upper + row] <= upper_bar,
                    codes[left + row] <= left_bar,
                    codes[right + row] <= right_bar,
                )
                on_left, on_right = a if is_a else b, c if is_c else d
                stack[top + row] = on_left if is_left else on_right
        else:
            a, b, c, d = node.a, node.b, node.c, node.d
            for row in range(layer):
                is_left, is_a, is_c = (
                    codes[upper + row] <= upper_bar,
                    codes[left + row] <= left_bar,
                    codes[right + row] <= right_bar,
                )
                on_left, on_right = a if is_a else b, c if is_c else d
                stack[top + row] = on_left if is_left else on_right
        top += layer
