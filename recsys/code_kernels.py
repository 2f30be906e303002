"""Inner products of 8-bit codes: a query's with those of a block of items, by the best instruction a processor has.

The codes of a block stand four columns of an item together, items side by side: uint8[w / 4, BLOCK, 4], each code with
OFFSET added. vpdpbusd (AVX512-VNNI) multiplies 64 of them by a query's and adds each four products to a sum of 32 bits;
vpmaddwd (AVX2) does so with 16 that have been widened, and adds each two.
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

BLOCK = 256
"""Items of a block."""
COLUMNS = 4
"""Columns of an item whose codes stand together."""
OFFSET = 128
"""What is added to an item's codes, as one side of the instruction has no sign."""
LANES, HALF = 16, 8
"""Sums of a vector of 64 bytes, and of one of 32."""
WORD = 64
"""Items whose scores are compared at once."""

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
        form: of what sums are added to.
        items: that have their sums in one such.
        at_once: how many of them are added to beside each other: as many as a processor has room for.
        add: from the builder, one of them, the codes uint8[items * 4] and an int32 of four int8 to the same with more.
        whole: from the builder and one of them to the sums int32[items].
    """

    form: Any
    items: int
    at_once: int
    add: Callable[[Any, Any, Any, Any], Any]
    whole: Callable[[Any, Any], Any]


def _by_fours(builder: Any, summed: Any, codes: Any, asked: Any) -> Any:
    """vpdpbusd: four products are added to each of 16 sums."""
    form = ir.FunctionType(_SUMS, [_SUMS, _BYTES, _BYTES])
    multiply = cgutils.get_or_insert_function(builder.module, form, "llvm.x86.avx512.vpdpbusd.512")  # type: ignore[no-untyped-call]
    return builder.call(multiply, [summed, codes, builder.bitcast(_spread(builder, asked, LANES), _BYTES)])


def _by_pairs(builder: Any, summed: Any, codes: Any, asked: Any) -> Any:
    """vpmaddwd: each two of 16 products of 16-bit numbers are added to one of 8 sums, of which an item has two."""
    shorts = ir.VectorType(_SHORT, 2 * HALF)
    form = ir.FunctionType(summed.type, [shorts, shorts])
    multiply = cgutils.get_or_insert_function(builder.module, form, "llvm.x86.avx2.pmadd.wd")  # type: ignore[no-untyped-call]
    four = builder.sext(builder.bitcast(asked, ir.VectorType(_BYTE, COLUMNS)), ir.VectorType(_SHORT, COLUMNS))
    own = builder.bitcast(_spread(builder, builder.bitcast(four, ir.IntType(64)), COLUMNS), shorts)
    return builder.add(summed, builder.call(multiply, [builder.zext(codes, shorts), own]))


def _by_any(builder: Any, summed: Any, codes: Any, asked: Any) -> Any:
    """The same integers on any processor."""
    wide = ir.VectorType(_NUMBER, LANES * COLUMNS)
    own = builder.bitcast(_spread(builder, asked, LANES), _BYTES)
    found = builder.mul(builder.zext(codes, wide), builder.sext(own, wide))
    return builder.add(summed, _joined(builder, _joined(builder, found)))


def _joined(builder: Any, sums: Any) -> Any:
    """The sum of each two numbers that stand beside each other."""
    even, odd = (builder.shuffle_vector(sums, sums, _places(range(side, sums.type.count, 2))) for side in (0, 1))
    return builder.add(even, odd)


def _as_it_is(_: Any, sums: Any) -> Any:
    return sums


_FOURS = _Way(_SUMS, LANES, BLOCK // LANES, _by_fours, _as_it_is)
_PAIRS = _Way(ir.VectorType(_NUMBER, HALF), HALF // 2, HALF, _by_pairs, _joined)
_ANY = _Way(_SUMS, LANES, 2, _by_any, _as_it_is)


def _way(context: Any, *, portable: bool) -> _Way:
    """The quickest that a processor has."""
    if not portable and has(context, "avx512vnni"):
        return _FOURS
    return _PAIRS if not portable and has(context, "avx2") else _ANY


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

            form, items, at_once, add, whole = _way(context, portable=portable)
            width = arguments[4]
            size, own_codes, own_sums = width.type, ir.VectorType(_BYTE, items * COLUMNS), ir.VectorType(_NUMBER, items)
            block, query, sums = data(0, arguments[1]), data(2, arguments[3]), data(6, size(0))
            begin, nothing = _spread(builder, arguments[5], items), ir.Constant(form, [0] * form.count)
            step = at_once * items * COLUMNS
            with cgutils.for_range_slice(builder, size(0), size(BLOCK * COLUMNS), size(step)) as (item, _):
                summed = [cgutils.alloca_once_value(builder, nothing) for _ in range(at_once)]  # type: ignore[no-untyped-call]
                with cgutils.for_range_slice(builder, size(0), width, size(COLUMNS)) as (column, _):
                    own = builder.load(at(query, column, _NUMBER), align=1)
                    line = builder.add(builder.mul(column, size(BLOCK)), item)
                    for number, total in enumerate(summed):
                        place = builder.add(line, size(number * items * COLUMNS))
                        codes = builder.load(at(block, place, own_codes), align=1)
                        builder.store(add(builder, builder.load(total), codes, own), total)
                for number, total in enumerate(summed):
                    place = builder.add(item, size(number * items * COLUMNS))
                    found = builder.add(begin, whole(builder, builder.load(total)))
                    builder.store(found, at(sums, place, own_sums), align=4)
            return context.get_dummy_value()

        own = (codes, types.intp, asked, types.intp, types.intp, types.int32, product)
        return types.none(*own), lines

    return intrinsic(typed)


sums: Any = _sums(portable=False)
portable_sums: Any = _sums(portable=True)


def _bits(context: Any, product: Any, units: Any, first: Any, place: Any, bar: Any) -> Any:  # noqa: ARG001 - as numba calls it
    """Which of WORD products reach a bar when each is multiplied by its unit, as the bits of a uint64."""

    def lines(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def read(which: int, offset: Any, form: Any) -> Any:
            array = context.make_array(signature.args[which])(context, builder, arguments[which])
            place = builder.bitcast(builder.gep(array.data, [offset]), ir.VectorType(form, WORD).as_pointer())
            return builder.load(place, align=4)

        unit = read(1, builder.add(arguments[2], arguments[3]), _FLOAT)
        score = builder.fmul(builder.sitofp(read(0, arguments[3], _NUMBER), unit.type), unit)
        reached = builder.fcmp_ordered(">=", score, _spread(builder, arguments[4], WORD))
        return builder.bitcast(reached, ir.IntType(WORD))

    return types.uint64(product, units, types.intp, types.intp, types.float32), lines


def _zeros(context: Any, bits: Any) -> Any:  # noqa: ARG001 - as numba calls it
    """The number of zeros below the lowest 1 of a uint64 that is not 0."""

    def lines(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001 - as numba calls it
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), lines


reaching: Any = intrinsic(_bits)
lowest: Any = intrinsic(_zeros)
