"""Inner products of 8-bit codes: a query's with those of a block of items, by the best instruction a processor has.

The codes of a block stand four columns of an item together, items side by side: uint8[w / 4, BLOCK, 4], each code with
OFFSET added. vpdpbusd (AVX512-VNNI) multiplies 64 of them by a query's and adds each four products to a sum of 32 bits;
vpmaddubsw (AVX2) multiplies 32 and adds each two, in 16 bits, which is why codes of queries are smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from recsys.kernel import has
from recsys.types import Float32s, Int32s, UInt8s

BLOCK = 128
"""Items of a block."""
COLUMNS = 4
"""Columns of an item whose codes stand together."""
OFFSET = 128
"""What is added to an item's codes, as one side of the instruction has no sign."""
LARGEST_ASKED = 63
"""Codes of a query go from its negative to it, so that two products with an item's, up to 255, have 16 bits."""
LANES, HALF = 16, 8
"""Sums of a vector of 64 bytes, and of one of 32."""
WORD = 64
"""Items whose scores are compared at once."""


class Blocks(NamedTuple):
    """What is searched, as :class:`recsys.item_blocks.ItemBlocks` tells."""

    codes: UInt8s
    items: Int32s
    unit: Float32s
    slack: Float32s
    centres: UInt8s
    centre_unit: Float32s


_BYTE, _SHORT, _NUMBER, _FLOAT = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.FloatType()
_SUMS, _BYTES = ir.VectorType(_NUMBER, LANES), ir.VectorType(_BYTE, LANES * COLUMNS)


def _places(places: Any) -> Any:
    """The mask of a shuffle."""
    own = list(places)
    return ir.Constant(ir.VectorType(_NUMBER, len(own)), own)


def _spread(builder: Any, one: Any, lanes: int) -> Any:
    """A vector of one number."""
    nothing = ir.Constant(ir.VectorType(one.type, lanes), ir.Undefined)
    return builder.shuffle_vector(builder.insert_element(nothing, one, _NUMBER(0)), nothing, _places([0] * lanes))


class _Way(NamedTuple):
    """How the products of a query and a block are summed up, some sums beside each other.

    Attributes:
        items: whose sums are one vector.
        at_once: such vectors that are added to beside each other: as many as a processor has room for.
        add: from the builder, the sums int32[items], the codes uint8[items * 4] and an int32 of four int8 to the sums
            with more.
    """

    items: int
    at_once: int
    add: Callable[[Any, Any, Any, Any], Any]


def _by_fours(builder: Any, summed: Any, codes: Any, asked: Any) -> Any:
    """vpdpbusd: four products are added to each of 16 sums."""
    form = ir.FunctionType(_SUMS, [_SUMS, _BYTES, _BYTES])
    multiply = cgutils.get_or_insert_function(builder.module, form, "llvm.x86.avx512.vpdpbusd.512")  # type: ignore[no-untyped-call]
    return builder.call(multiply, [summed, codes, builder.bitcast(_spread(builder, asked, LANES), _BYTES)])


def _by_twos(builder: Any, summed: Any, codes: Any, asked: Any) -> Any:
    """vpmaddubsw and vpmaddwd: each two of 32 products, and then each two of these sums, are added to one of 8."""
    many, shorts = codes.type, ir.VectorType(_SHORT, 2 * HALF)
    twos, fours = (
        cgutils.get_or_insert_function(builder.module, ir.FunctionType(made, [of, of]), f"llvm.x86.avx2.pmadd.{name}")  # type: ignore[no-untyped-call]
        for made, of, name in ((shorts, many, "ub.sw"), (summed.type, shorts, "wd"))
    )
    found = builder.call(twos, [codes, builder.bitcast(_spread(builder, asked, HALF), many)])
    return builder.add(summed, builder.call(fours, [found, ir.Constant(shorts, [1] * shorts.count)]))


def _by_any(builder: Any, summed: Any, codes: Any, asked: Any) -> Any:
    """The same integers on any processor."""
    wide = ir.VectorType(_NUMBER, LANES * COLUMNS)
    own = builder.bitcast(_spread(builder, asked, LANES), _BYTES)
    found = builder.mul(builder.zext(codes, wide), builder.sext(own, wide))
    for size in (2 * LANES, LANES):
        even, odd = (builder.shuffle_vector(found, found, _places(range(side, 2 * size, 2))) for side in (0, 1))
        found = builder.add(even, odd)
    return builder.add(summed, found)


_FOURS = _Way(LANES, BLOCK // LANES, _by_fours)
_TWOS = _Way(HALF, HALF, _by_twos)
_ANY = _Way(LANES, 2, _by_any)


def _way(context: Any, *, portable: bool) -> _Way:
    """The quickest that a processor has."""
    if not portable and has(context, "avx512vnni"):
        return _FOURS
    return _TWOS if not portable and has(context, "avx2") else _ANY


def _sums(*, portable: bool) -> Any:
    """The intrinsic that sums up the products of a query and a block of items.

    Args:
        portable: whether no instruction of one kind of processor is used.
    """

    def typed(context: Any, codes: Any, first: Any, asked: Any, row: Any, width: Any, start: Any, product: Any) -> Any:  # noqa: ARG001 - as numba calls it
        if not codes.layout == asked.layout == product.layout == "C":
            raise TypingError("arrays must be row by row")

        def lines(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            def data(which: int, offset: Any) -> Any:
                array = context.make_array(signature.args[which])(context, builder, arguments[which])
                return builder.gep(builder.bitcast(array.data, _BYTE.as_pointer()), [offset])

            def at(place: Any, offset: Any, form: Any) -> Any:
                return builder.bitcast(builder.gep(place, [offset]), form.as_pointer())

            items, at_once, add = _way(context, portable=portable)
            width = arguments[4]
            size, own_codes, own_sums = width.type, ir.VectorType(_BYTE, items * COLUMNS), ir.VectorType(_NUMBER, items)
            block, query, sums = data(0, arguments[1]), data(2, arguments[3]), data(6, size(0))
            begin = _spread(builder, arguments[5], items)
            step = at_once * items * COLUMNS
            with cgutils.for_range_slice(builder, size(0), size(BLOCK * COLUMNS), size(step)) as (item, _):
                summed = [cgutils.alloca_once_value(builder, begin) for _ in range(at_once)]  # type: ignore[no-untyped-call]
                with cgutils.for_range_slice(builder, size(0), width, size(COLUMNS)) as (column, _):
                    own = builder.load(at(query, column, _NUMBER), align=1)
                    line = builder.add(builder.mul(column, size(BLOCK)), item)
                    for number, total in enumerate(summed):
                        place = builder.add(line, size(number * items * COLUMNS))
                        codes = builder.load(at(block, place, own_codes), align=1)
                        builder.store(add(builder, builder.load(total), codes, own), total)
                for number, total in enumerate(summed):
                    place = builder.add(item, size(number * items * COLUMNS))
                    builder.store(builder.load(total), at(sums, place, own_sums), align=4)
            return context.get_dummy_value()

        own = (codes, types.intp, asked, types.intp, types.intp, types.int32, product)
        return types.none(*own), lines

    return intrinsic(typed)


sums: Any = _sums(portable=False)
portable_sums: Any = _sums(portable=True)


def _pack(*, portable: bool) -> Any:
    """The intrinsic that writes down the items of a block whose scores reach a bar.

    Args:
        portable: whether no instruction of one kind of processor is used.
    """

    def typed(
        context: Any,  # noqa: ARG001 - as numba calls it
        product: Any,
        units: Any,
        items: Any,
        first: Any,  # noqa: ARG001 - as numba calls it
        bar: Any,  # noqa: ARG001 - as numba calls it
        found: Any,
        scores: Any,
        place: Any,  # noqa: ARG001 - as numba calls it
    ) -> Any:
        """How many products (int32[BLOCK]) reach a bar when each is multiplied by its unit.

        Their items and scores stand in two tables, row by row, from a place on, and anything behind them, down to
        BLOCK places from there. What is of the block stands in two other tables, from ``first`` on.
        """

        def lines(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            size, lanes = arguments[3].type, LANES if not portable and has(context, "avx512f") else 1

            def at(which: int, offset: Any, form: Any) -> Any:
                data = context.make_array(signature.args[which])(context, builder, arguments[which]).data
                own = ir.VectorType(form, lanes) if lanes > 1 else form
                return builder.bitcast(builder.gep(data, [offset]), own.as_pointer())

            def write(which: int, values: Any, mask: Any) -> None:
                form = values.type
                if lanes > 1:
                    name = f"llvm.x86.avx512.mask.compress.v{lanes}{'i' if form.element == _NUMBER else 'f'}32"
                    kind = ir.FunctionType(form, [form, form, mask.type])
                    compress = cgutils.get_or_insert_function(builder.module, kind, name)  # type: ignore[no-untyped-call]
                    values = builder.call(compress, [values, ir.Constant(form, ir.Undefined), mask])
                place = builder.add(arguments[7], builder.load(count))
                builder.store(values, at(which, place, form.element if lanes > 1 else form), align=4)

            count = cgutils.alloca_once_value(builder, size(0))  # type: ignore[no-untyped-call]
            least = _spread(builder, arguments[4], lanes) if lanes > 1 else arguments[4]
            with cgutils.for_range_slice(builder, size(0), size(BLOCK), size(lanes)) as (item, _):
                own = builder.add(arguments[3], item)
                unit = builder.load(at(1, own, _FLOAT), align=4)
                score = builder.fmul(builder.sitofp(builder.load(at(0, item, _NUMBER), align=4), unit.type), unit)
                reached = builder.fcmp_ordered(">=", score, least)
                write(5, builder.load(at(2, own, _NUMBER), align=4), reached)
                write(6, score, reached)
                bits = builder.bitcast(reached, ir.IntType(lanes))
                builder.store(builder.add(builder.load(count), builder.zext(builder.ctpop(bits), size)), count)
            return builder.load(count)

        own = (product, units, items, types.intp, types.float32, found, scores, types.intp)
        return types.intp(*own), lines

    return intrinsic(typed)


def _scores(context: Any, scores: Any, first: Any, bar: Any) -> Any:  # noqa: ARG001 - as numba calls it
    """Which of WORD scores, from a place on, reach a bar, as the bits of a uint64."""

    def lines(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.VectorType(_FLOAT, WORD).as_pointer())
        reached = builder.fcmp_ordered(">=", builder.load(place, align=4), _spread(builder, arguments[2], WORD))
        return builder.bitcast(reached, ir.IntType(WORD))

    return types.uint64(scores, types.intp, types.float32), lines


def _zeros(context: Any, bits: Any) -> Any:  # noqa: ARG001 - as numba calls it
    """The number of zeros below the lowest 1 of a uint64 that is not 0."""

    def lines(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001 - as numba calls it
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), lines


def _ones(context: Any, bits: Any) -> Any:  # noqa: ARG001 - as numba calls it
    """How many bits of a uint64 are 1."""

    def lines(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001 - as numba calls it
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), lines


pack: Any = _pack(portable=False)
portable_pack: Any = _pack(portable=True)
above: Any = intrinsic(_scores)
lowest: Any = intrinsic(_zeros)
ones: Any = intrinsic(_ones)
