"""Numbers of half precision, of which compiled code knows the bits alone: numba has no such numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from recsys.kernel import kernel

SCALE = np.float32(2.0**112)
"""A float32 has 112 more exponents below 1: the bits of a float16 in its place make 2**-112 of the number."""
FLOAT = ir.FloatType()


@kernel
def half(bits: int) -> np.float32:
    """The number that float16 writes with some bits (uint16), where it is finite."""
    magnitude = np.float32(np.int32((np.int32(bits) & 0x7FFF) << 13).view(np.float32) * SCALE)
    return -magnitude if bits & 0x8000 else magnitude


def like(form: Any, one: Any) -> Any:
    """The type of one number, or of as many as a vector has."""
    return ir.VectorType(one, form.count) if isinstance(form, ir.VectorType) else one


def widened(builder: Any, bits: Any, form: Any, *, portable: bool) -> Any:
    """The float32, or the vector of them, that such bits stand for where they are finite.

    Args:
        builder: of LLVM.
        bits: uint16, or a vector of them.
        form: of what is returned.
        portable: whether no instruction for it may be used.
    """
    if not portable:
        return builder.fpext(builder.bitcast(bits, like(form, ir.HalfType())), form)
    whole = like(form, ir.IntType(32))

    def every(value: float, kind: Any) -> Any:
        return ir.Constant(kind, [value] * kind.count if isinstance(kind, ir.VectorType) else value)

    wide = builder.zext(bits, whole)
    magnitude = builder.shl(builder.and_(wide, every(0x7FFF, whole)), every(13, whole))
    scaled = builder.fmul(builder.bitcast(magnitude, form), every(float(SCALE), form))
    sign = builder.shl(builder.and_(wide, every(0x8000, whole)), every(16, whole))
    return builder.bitcast(builder.or_(builder.bitcast(scaled, whole), sign), form)
