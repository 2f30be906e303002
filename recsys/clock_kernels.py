"""The clock in a kernel, for parts of its work that who calls it cannot tell apart."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numba import types

from recsys.kernel import kernel
from recsys.types import Int64s

CLOCK = time.CLOCK_MONOTONIC
_clock_gettime: Any = types.ExternalFunction("clock_gettime", types.intc(types.intc, types.uintp))  # type: ignore[no-untyped-call]


@kernel
def clock() -> Int64s:
    """int64[2], to read the time into."""
    return np.zeros(2, dtype=np.int64)


@kernel
def seconds(clock: Int64s) -> float:
    """Seconds of a clock that never goes back; some 25 ns to ask."""
    _clock_gettime(CLOCK, clock.ctypes.data)
    return clock[0] + 1e-9 * clock[1]
