"""The loops of a forest: codes of the features, and each tree from its leaves up, for a block of rows at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from recsys.kernel import has, kernel
from recsys.memory_kernels import LINE
from recsys.types import Array, Float32s, Int64s

BLOCK = 256
"""Rows that are worked together: of one byte each, four vectors of a processor that has the longest."""
VECTOR = 64
"""Rows of one vector, where a processor has the longest."""
STEP = 16
"""Thresholds that are compared at once."""
UNREACHED = 255
"""The code of a missing value where it counts as larger than all thresholds."""
NODE = 11
"""Numbers of a node: where three columns of codes begin, three bars, four ends, and the slot of the result.

A row goes left if its code is not above the bar. Bars, and ends that are numbers of leaves, stand in each of the four
bytes, as a processor fills a vector with four bytes from memory for nothing, and with one byte by work.
"""
EACH = 0x01010101
FEW = 64
"""Leaves whose scores fit into four vectors."""
DEPTHS = range(4, 9)
"""Levels of thresholds that are searched: of one vector or more, up to as many as a code of a byte can count."""
RIGHT = (1 << 20) + 1
"""What is added to twice the number of a node for its right child: of 1, LLVM would make three instructions of one.

The upper bit goes up with each level, and no one looks at it.
"""

_FLOATS, _PLACES = ir.VectorType(ir.FloatType(), STEP), ir.VectorType(ir.IntType(32), STEP)
PICK_OF_TWO: tuple[Any, ...] = (
    "llvm.x86.avx512.vpermi2var.ps.512",
    [],
    ir.FunctionType(_FLOATS, [_FLOATS, _PLACES, _FLOATS]),
)
"""Instruction of AVX-512: of each of 16 places, of which it takes the last 5 bits, the float of two vectors."""


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


def _search(context: Any, codes: Any, values: Any, levels: Any, numbers: Any, missing: Any) -> Any:  # noqa: ARG001 - as above
    """Write how many thresholds each of some values reaches, if the processor has AVX-512; returns whether it has.

    The thresholds are a binary tree, and the next level of it is looked up for 16 values at once, as all of it is kept
    in vectors. The number of a node tells its two children's, and in the end the number of thresholds reached.

    Args:
        context: numba's.
        codes: uint8[c * BLOCK].
        values: float32[...].
        levels: float32[m], as :class:`recsys.forest.Forest` tells.
        numbers: of uint64: the place of the first code to be written, that of the first value, the number of values,
            which stand next to each other and are STEP or more, where the list's tree begins in the levels, and its
            size.
        missing: uint8, what is written where no threshold is reached.
    """

    def lines(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        flag = ir.IntType(1)
        if not has(context, "avx512f"):
            return flag(0)
        word, number, real = ir.IntType(32), ir.IntType(64), ir.FloatType()
        floats, numbers, bytes_ = (ir.VectorType(kind, STEP) for kind in (real, word, ir.IntType(8)))
        pick_form = ir.FunctionType(floats, [floats, numbers])
        pick = builder.module.declare_intrinsic("llvm.x86.avx512.permvar.sf.512", [], pick_form)
        pick_of_two = builder.module.declare_intrinsic(*PICK_OF_TWO)
        made, known, tree = (
            context.make_array(signature.args[at])(context, builder, arguments[at]).data for at in range(3)
        )
        place, first, rows, start, size = cgutils.unpack_tuple(builder, arguments[3])  # type: ignore[no-untyped-call]

        def at(array: Any, offset: Any, kind: Any) -> Any:
            return builder.bitcast(builder.gep(array, [offset]), kind.as_pointer())

        def bar_of(node: Any, parts: list[Any]) -> Any:
            """Of the nodes of one level, whose number is the same but for the bits that tell a place in the parts."""
            if len(parts) == 1:
                return builder.call(pick, [parts[0], node])
            if len(parts) == 2:
                return builder.call(pick_of_two, [parts[0], node, parts[1]])
            half = len(parts) // 2
            bit = builder.and_(node, ir.Constant(numbers, [half * STEP] * STEP))
            is_high = builder.icmp_unsigned("!=", bit, ir.Constant(numbers, [0] * STEP))
            return builder.select(is_high, bar_of(node, parts[half:]), bar_of(node, parts[:half]))

        one, right = (ir.Constant(numbers, [value] * STEP) for value in (1, RIGHT))
        unreached = builder.insert_element(ir.Constant(bytes_, ir.Undefined), arguments[4], word(0))
        unreached = builder.shuffle_vector(unreached, unreached, ir.Constant(numbers, [0] * STEP))
        end = builder.append_basic_block()
        depths = builder.switch(size, end)
        for depth in DEPTHS:
            depths.add_case(number(1 << depth), builder.append_basic_block())
            builder.position_at_end(depths.cases[-1][1])
            parts = [
                builder.load(at(tree, builder.add(start, number(part)), floats), align=4)
                for part in range(0, 1 << depth, STEP)
            ]
            with cgutils.for_range_slice(builder, number(0), rows, number(STEP)) as (row, _):
                last = builder.sub(rows, number(STEP))  # which may have rows in common with the one before
                own = builder.select(builder.icmp_unsigned("<", row, last), row, last)
                value = builder.load(at(known, builder.add(first, own), floats), align=4)
                node = one
                for level in range(depth):
                    begin = (1 << level) // STEP
                    bar = bar_of(node, parts[begin : max(2 * begin, 1)])
                    reached = builder.fcmp_ordered("<=", bar, value)
                    twice = builder.add(node, node)
                    node = builder.select(reached, builder.add(twice, right), twice)
                none = ir.Constant(numbers, [1 << depth] * STEP)
                count = builder.trunc(builder.xor(node, none), bytes_)
                count = builder.select(builder.icmp_unsigned("==", node, none), unreached, count)
                builder.store(count, at(made, builder.add(place, own), bytes_), align=1)
            builder.branch(end)
        builder.position_at_end(end)
        return flag(1)

    own = types.UniTuple(types.uint64, 5)  # type: ignore[no-untyped-call]
    return types.boolean(codes, values, levels, own, types.uint8), lines


_fill_counts: Any = intrinsic(_search)


def _choice(joins: bool) -> Any:
    """What makes the results of nodes for all rows of a block: of numbers of leaves, or of results where they join.

    LLVM by itself would take vectors of half the length. Where the block is full, or nearly so, what is done for a node
    is written out for all rows, as a loop over a few vectors would take as long as the work in it.
    """

    def choice(context: Any, slots: Any, codes: Any, nodes: Any, begin: Any, stop: Any, rows: Any) -> Any:  # noqa: ARG001 - numba
        def lines(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            made, coded, table = (
                context.make_array(kind)(context, builder, array).data
                for kind, array in zip(signature.args[:3], arguments[:3], strict=True)
            )
            begin, stop, rows = arguments[3:]
            width = VECTOR if has(context, "avx512bw") else VECTOR // 2
            word, number, size = ir.IntType(32), ir.IntType(64), width // 4
            vector, fours = ir.VectorType(ir.IntType(8), width), ir.VectorType(word, size)
            nothing, zeros = ir.Constant(fours, ir.Undefined), ir.Constant(ir.VectorType(word, size), [0] * size)

            def filled(value: Any) -> Any:
                one = builder.insert_element(nothing, value, word(0))
                return builder.bitcast(builder.shuffle_vector(one, nothing, zeros), vector)

            def place_of(array: Any, start: Any, row: Any) -> Any:
                place = builder.gep(builder.gep(array, [builder.zext(start, number)]), [row])
                return builder.bitcast(place, vector.as_pointer())

            def read(place: Any) -> Any:
                first = builder.mul(place, number(NODE))
                words = [builder.load(builder.gep(table, [builder.add(first, number(at))])) for at in range(NODE)]
                bars, ends = [filled(value) for value in words[3:6]], words[6:10]
                return words, bars, ends if joins else [filled(value) for value in ends]

            def choose(node: Any, row: Any) -> None:
                words, bars, leaves = node
                is_left, is_a, is_c = (
                    builder.icmp_unsigned("<=", builder.load(place_of(coded, start, row), align=1), bar)
                    for start, bar in zip(words[:3], bars, strict=True)
                )
                a, b, c, d = (builder.load(place_of(made, end, row), align=1) if joins else end for end in leaves)
                chosen = builder.select(is_left, builder.select(is_a, a, b), builder.select(is_c, c, d))
                builder.store(chosen, place_of(made, words[10], row), align=1)

            is_full = builder.icmp_unsigned(">", rows, number(BLOCK - width))
            with builder.if_else(is_full) as (full, not_full):
                with full, cgutils.for_range_slice(builder, begin, stop, number(1)) as (place, _):
                    node = read(place)
                    for at in range(0, BLOCK, width):
                        choose(node, number(at))
                with not_full, cgutils.for_range_slice(builder, begin, stop, number(1)) as (place, _):
                    node = read(place)
                    with cgutils.for_range_slice(builder, number(0), rows, number(width)) as (row, _):
                        choose(node, row)
            return context.get_dummy_value()

        return types.none(slots, codes, nodes, types.uint64, types.uint64, types.uint64), lines

    return intrinsic(choice)


_choose_leaf, _choose_result = _choice(joins=False), _choice(joins=True)


def _look_up(context: Any, sums: Any, results: Any, leaves: Any, tree: Any, rows: Any) -> Any:  # noqa: ARG001 - as above
    """Add to each sum (float32[BLOCK]) the score of its leaf of a tree with few leaves (float32[t, FEW]).

    A processor of AVX-512 keeps the scores of all leaves in four vectors and picks 16 of them at once; others read each
    from memory.
    """

    def lines(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, word, number, real = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()
        totals, made, table = (
            context.make_array(kind)(context, builder, array).data
            for kind, array in zip(signature.args[:3], arguments[:3], strict=True)
        )
        floats, places, size = ir.VectorType(real, STEP), ir.VectorType(word, STEP), number(FEW)
        table = builder.gep(table, [builder.mul(arguments[3], size)])
        can_pick = has(context, "avx512f")

        def vector(array: Any, place: Any, kind: Any) -> Any:
            return builder.bitcast(builder.gep(array, [place]), kind.as_pointer())

        pick = builder.module.declare_intrinsic(*PICK_OF_TWO) if can_pick else None
        parts = [builder.load(vector(table, number(part), floats), align=4) for part in range(0, FEW, STEP)]

        def picked(leaf: Any) -> Any:
            a, b, c, d = parts
            place, half = builder.zext(leaf, places), ir.Constant(places, [FEW // 2] * STEP)
            low, high = builder.call(pick, [a, place, b]), builder.call(pick, [c, place, d])
            return builder.select(builder.icmp_unsigned("<", place, half), low, high)

        def read(leaf: Any) -> Any:
            scores = ir.Constant(floats, ir.Undefined)
            for at in range(STEP):
                place = builder.zext(builder.extract_element(leaf, word(at)), number)
                scores = builder.insert_element(scores, builder.load(builder.gep(table, [place])), word(at))
            return scores

        with cgutils.for_range_slice(builder, number(0), arguments[4], number(STEP)) as (row, _):
            leaf = builder.load(vector(made, row, ir.VectorType(byte, STEP)), align=1)
            scores = picked(leaf) if can_pick else read(leaf)
            total = vector(totals, row, floats)
            builder.store(builder.fadd(builder.load(total, align=4), scores), total, align=4)
        return context.get_dummy_value()

    return types.none(sums, results, leaves, types.uint64, types.uint64), lines


_add_leaves: Any = intrinsic(_look_up)

Coding = tuple[Array, Int64s, Float32s, Int64s, Float32s]
"""What codes are made by: columns, starts, thresholds, roots and levels of :class:`recsys.forest.Forest`."""
Walking = tuple[Array, Int64s, Float32s, int, float]
"""What scores of codes are made by: nodes, bounds, leaves, slots and base of :class:`recsys.forest.Forest`."""


@kernel
def score(features: Float32s, coding: Coding, walking: Walking) -> Float32s:
    """float32[n]: the score of each row, block of rows by block.

    Args:
        features: float32[n, f], NaN where missing.
        coding: of the forest.
        walking: of the forest.
    """
    n, width = features.shape
    values, scores = features.ravel(), np.empty(n, dtype=np.float32)
    codes, results = block_of(coding[0]), results_of(walking)
    for start in range(0, n, BLOCK):
        rows = min(BLOCK, n - start)
        first, shape = start * width, (0, 1, width, rows)
        codes[0] = _read(values[first : first + rows * width]) > 0  # to be written over
        fill_codes(codes, values, first, shape, (0, len(coding[0])), coding)
        fill_scores(scores[start : start + rows], results, codes, walking)
    return scores


@kernel
def block_of(columns: Array) -> Array:
    """uint8[(c + 8) * BLOCK]: a place for the codes of a block; the last columns are for who writes eight at once."""
    return in_lines((len(columns) + 8) * BLOCK)


@kernel
def results_of(walking: Walking) -> Array:
    """uint8[slots * BLOCK]: a place for the results of a tree's nodes."""
    return in_lines(walking[3] * BLOCK)


@kernel
def in_lines(size: int) -> Array:
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
def fill_codes(
    codes: Array, values: Float32s, start: int, shape: tuple[int, int, int, int], own: tuple[int, int], coding: Coding
) -> None:
    """The codes of some columns for up to BLOCK rows: of how many thresholds each value reaches.

    One is counted that all values but missing ones reach. There is no slice of an array and no call of a kernel for a
    column, as each takes as long as coding some rows.

    Args:
        codes: uint8[c * BLOCK or more], column by column.
        values: float32[...].
        start: of the values.
        shape: of the values: the feature that comes first, how many places on the next feature stands, how many the
            next row, and the number of rows.
        own: the first of the columns, and the one behind the last.
        coding: of all columns.
    """
    columns, starts, thresholds, roots, levels = coding
    feature, width, step, count = shape
    each, rows, passed = np.uint64(step), np.uint64(count), np.empty(BLOCK, dtype=np.int32)
    for number in range(own[0], own[1]):
        column, code = columns[number], np.uint64(number * BLOCK)
        cuts, missing = column.cuts, column.missing
        first, last = np.uint64(starts[cuts]), np.uint64(starts[cuts + 1])
        root, size = np.uint64(roots[cuts]), np.uint64(roots[cuts + 1] - roots[cuts])
        value = np.uint64(start + (column.feature - feature) * width)
        if number > own[0] and columns[number - 1].cuts == cuts:
            for row in range(np.uint64(BLOCK)):
                codes[code + row] = codes[code - np.uint64(BLOCK) + row] or missing
        elif (
            step != 1
            or count < STEP
            or not _fill_counts(codes, values, levels, (code, value, rows, root, size), missing)
        ):
            for row in range(rows):
                passed[row] = 0
            for place in range(first + np.uint64(STEP - 1), last - np.uint64(1), np.uint64(STEP)):
                bar = thresholds[place]
                for row in range(rows):  # many at once, which counting by rows is not
                    passed[row] += bar <= values[value + row * each]
            for row in range(rows):
                begin = np.uint64(STEP * passed[row])
                reached = begin + _reached(thresholds, first + begin, values[value + row * each])
                codes[code + row] = reached or missing


@kernel
def fill_scores(scores: Float32s, results: Array, codes: Array, walking: Walking) -> None:
    """The scores of up to BLOCK rows by their codes.

    All positions are unsigned: with signed ones, which may count from the end, the loops would not become vector
    instructions.

    Args:
        scores: float32[rows].
        results: uint8[slots * BLOCK], zeros or results of before.
        codes: uint8[c * BLOCK].
        walking: of the forest.
    """
    nodes, bounds, leaves, _, base = walking
    rows, sums = np.uint64(len(scores)), np.full(BLOCK, base, dtype=np.float32)
    for tree in range(np.uint64(len(leaves))):
        begin, joins = np.uint64(bounds[2 * tree]), np.uint64(bounds[2 * tree + 1])
        _choose_leaf(results, codes, nodes, begin, joins, rows)
        _choose_result(results, codes, nodes, joins, np.uint64(bounds[2 * tree + 2]), rows)
        if leaves.shape[1] == FEW:
            _add_leaves(sums, results, leaves, tree, rows)
        else:
            for row in range(rows):
                sums[row] += leaves[tree, results[row]]
    for row in range(rows):
        scores[row] = sums[row]
