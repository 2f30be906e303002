"""Asking for memory ahead changes nothing but the time."""

from __future__ import annotations

import numpy as np
import pytest
from numba.core.errors import TypingError

from recsys.kernel import frozen, kernel
from recsys.memory_kernels import ask_for


@kernel
def asked_and_summed(values, start, stop):
    ask_for(values, start, stop)
    return values.sum()


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.float32, np.int64, np.float64])
@pytest.mark.parametrize("shape", [(0,), (300,), (30, 10)])
def test_any_places_of_an_array_can_be_asked_for(dtype, shape):
    values = frozen(np.arange(np.prod(shape)).reshape(shape).astype(dtype))
    for start, stop in ((0, values.size), (values.size // 3, values.size // 2), (0, 0)):
        assert asked_and_summed(values, start, stop) == values.sum()


def test_arrays_column_by_column_are_refused():
    with pytest.raises(TypingError, match="row by row"):
        asked_and_summed(np.ones((30, 8), order="F"), 0, 8)
