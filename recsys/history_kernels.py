"""The compiled loops over the histories of a batch of queries."""

from __future__ import annotations

import numpy as np

from recsys.half_kernels import half
from recsys.kernel import brief_kernel, kernel
from recsys.memory_kernels import ask_for
from recsys.types import SECONDS_PER_DAY, Array, Bools, Float32s, Float64s, Int8s, Int32s, Int64s, UInt16s

AHEAD = 16
"""Users whose rows, each anywhere in memory, are asked for ahead."""


Columns = tuple[Array, ...]
"""Of histories: int32 items, int8 types, int64 times (unix seconds), float32 prices and int32 visits."""
Rows = tuple[Int64s, Int32s, Int8s, Int64s, Float32s, Int32s]
"""Histories: indptr int64[q + 1], and their columns."""


@kernel
def rows_of(users: Int32s, indptr: Int64s, columns: Columns) -> Rows:
    """The histories of some users, in their order.

    Args:
        users: int32[q], -1 for an empty history.
        indptr: int64[n + 1], of the users' rows.
        columns: of these.
    """
    item_num, event_type, time, price, session_num = columns
    starts = np.zeros(len(users) + 1, dtype=np.int64)
    for row in range(-AHEAD, len(users)):
        if row + AHEAD < len(users) and users[row + AHEAD] >= 0:
            ask_for(indptr, users[row + AHEAD], users[row + AHEAD] + 2)
        if row >= 0:
            user = users[row]
            starts[row + 1] = starts[row] + (indptr[user + 1] - indptr[user] if user >= 0 else 0)
    found = starts[-1]
    items, types = np.empty(found, dtype=np.int32), np.empty(found, dtype=np.int8)
    times, prices = np.empty(found, dtype=np.int64), np.empty(found, dtype=np.float32)
    sessions = np.empty(found, dtype=np.int32)
    for row in range(-AHEAD, len(users)):
        if row + AHEAD < len(users) and users[row + AHEAD] >= 0:
            begin, end = indptr[users[row + AHEAD]], indptr[users[row + AHEAD] + 1]
            ask_for(item_num, begin, end)
            ask_for(event_type, begin, end)
            ask_for(time, begin, end)
            ask_for(price, begin, end)
            ask_for(session_num, begin, end)
        if row >= 0:
            begin, end = starts[row], starts[row + 1]
            shift = indptr[users[row]] - begin if end > begin else 0
            for at in range(begin, end):
                items[at], types[at], times[at] = item_num[shift + at], event_type[shift + at], time[shift + at]
                prices[at], sessions[at] = price[shift + at], session_num[shift + at]
    return starts, items, types, times, prices, sessions


@kernel
def preceded(starts: Int64s, entries: Array, indptr: Int64s, columns: Columns) -> Rows:
    """Histories with entries put first, but for those without an item.

    Args:
        starts: int64[q + 1], of the entries of each row.
        entries: recsys.interactions.ENTRY[n].
        indptr: int64[q + 1], of the histories' rows.
        columns: of these.
    """
    item_num, event_type, time, price, session_num = columns
    most, used = len(entries) + len(item_num), 0
    items, types = np.empty(most, dtype=np.int32), np.empty(most, dtype=np.int8)
    times, prices = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.float32)
    sessions, begins = np.empty(most, dtype=np.int32), np.zeros_like(indptr)
    for row in range(len(indptr) - 1):
        for at in range(starts[row], starts[row + 1]):
            entry = entries[at]
            items[used], types[used], times[used] = entry.item_num, entry.event_type, entry.time
            prices[used], sessions[used] = entry.price, entry.session_num
            used += entry.item_num >= 0
        for at in range(indptr[row], indptr[row + 1]):
            items[used], types[used], times[used] = item_num[at], event_type[at], time[at]
            prices[used], sessions[used] = price[at], session_num[at]
            used += 1
        begins[row + 1] = used
    return begins, items[:used], types[:used], times[:used], prices[:used], sessions[:used]


@brief_kernel
def kept_out(
    indptr: Int64s, item_num: Int32s, event_type: Int8s, policy: Int8s, out: Bools, n_items: int, further: Int64s
) -> Int64s:
    """Sorted keys ``row * n_items + item``, each once, of the entries that policies keep out, and further ones.

    Args:
        indptr: int64[q + 1].
        item_num: int32[m].
        event_type: int8[m].
        policy: int8[q], rows of ``out``.
        out: bool[p, 10], the types of events whose items a policy keeps out.
        n_items: size of the catalogue.
        further: int64[e], keys in any order.
    """
    keys, found = np.empty(len(item_num) + len(further), dtype=np.int64), 0
    for row in range(len(policy)):
        for at in range(indptr[row], indptr[row + 1]):
            keys[found] = row * n_items + item_num[at]
            found += out[policy[row], event_type[at]]
    for key in further:
        keys[found] = key
        found += 1
    keys = keys[:found]
    keys.sort()
    distinct = 0
    for key in keys:
        if distinct == 0 or keys[distinct - 1] != key:
            keys[distinct] = key
            distinct += 1
    return keys[:distinct]


@kernel
def decayed(
    indptr: Int64s, event_type: Int8s, time: Int64s, now: Int64s, weights: Float64s, half_life_days: float
) -> Float64s:
    """float64[m]: the weight of each entry by its type, halved by age; ages below 0 count as 0.

    Args:
        indptr: int64[q + 1].
        event_type: int8[m].
        time: int64[m], unix seconds.
        now: int64[q], unix seconds.
        weights: float64[10], by type.
        half_life_days: of a weight.
    """
    weight = np.zeros(len(time), dtype=np.float64)
    for row in range(len(now)):
        for at in range(indptr[row], indptr[row + 1]):
            if weights[event_type[at]] != 0:
                age = max(now[row] - time[at], 0) / SECONDS_PER_DAY
                weight[at] = weights[event_type[at]] * np.exp2(age / -half_life_days)
    return weight


@brief_kernel
def log_prices(price: Float32s) -> Float32s:
    """float32[m]: the logarithm of 1 and each price; NaN where it is unknown."""
    logs = np.empty(len(price), dtype=np.float32)
    for at in range(len(price)):
        logs[at] = np.log1p(price[at])
    return logs


@kernel
def vectors_of(users: Int32s, halves: UInt16s) -> Float32s:
    """float32[q, d]: the vectors of some users (int32[q]), from the bits of float16[n, d], all finite; zeros for -1."""
    width = halves.shape[1]
    vectors = np.zeros((len(users), width), dtype=np.float32)
    for row in range(-AHEAD, len(users)):
        if row + AHEAD < len(users) and users[row + AHEAD] >= 0:
            ask_for(halves, users[row + AHEAD] * width, (users[row + AHEAD] + 1) * width)
        if row >= 0 and users[row] >= 0:
            own, user = vectors[row], halves[users[row]]
            for column in range(np.uint64(width)):
                own[column] = half(user[column])
    return vectors
