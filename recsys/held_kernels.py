"""What many calls of a kernel share, handed over as one thing: to hand over an array costs as much as to look at one.

In a kernel ``held.value`` is the named tuple, as if its arrays had been handed over one by one.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.experimental import structref

from recsys.kernel import kernel


@structref.register
class HeldType(types.StructRef):
    """Numba's type of a :class:`Held`."""

    def preprocess_fields(self, fields: Any) -> Any:
        """The types of the fields, whatever values they are first made with."""
        return tuple((name, types.unliteral(field)) for name, field in fields)  # type: ignore[no-untyped-call]


class Held(structref.StructRefProxy):
    """A named tuple of arrays and numbers, of named tuples like it, or of tuples of these; nobody may change it.

    Made by :func:`hold`.
    """

    value: Any


structref.define_proxy(Held, HeldType, ["value"])  # type: ignore[no-untyped-call]


@kernel
def hold(value: Any) -> Held:
    """To hand over this named tuple."""
    return Held(value)  # type: ignore[no-untyped-call]
