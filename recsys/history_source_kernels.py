"""What a query's history says, compiled: sums of similar items, the user's own items, and the best of each source."""

from __future__ import annotations

import numpy as np

from recsys.code_kernels import WORD, above, lowest
from recsys.history_kernels import decayed
from recsys.kernel import kernel
from recsys.memory_kernels import ask_for
from recsys.order_kernels import MANY, key_of, score_of, to_front
from recsys.row_kernels import visited_row
from recsys.source_kernels import NONE, History, Similar, Sources, Space, Work, number_of
from recsys.types import Bools, Float32s, Int32s, Int64s

AHEAD = 8
"""Items whose neighbours, each list anywhere in memory, are asked for ahead."""
ENOUGH = 4
"""Times as many as are wanted come together before the best of them are told from the others."""


@kernel
def visit(history: History, events: slice, weight: Float32s, sources: Sources, space: Space, work: Work) -> None:
    """Fill what one history says of the user's own items, before any item has a number."""
    item, session, visits = history.item[events], history.session[events], len(sources.similar)
    for number in range(len(sources.visited)):
        if sources.visited[number].column != NONE:
            own, seen, seen_weight = weight[visits + number, events], work.seen[number], work.seen_weight[number]
            work.seen_count[number] = visited_row(item, session, own, space.slots, seen, seen_weight, work.links)


@kernel
def meet(history: History, events: slice, weight: Float32s, sources: Sources, space: Space, met: int) -> int:
    """Sum up what is similar to one history, where so many items were met; how many are met then."""
    for number in range(len(sources.similar)):
        source = sources.similar[number]
        if source.column != NONE:
            met = sum_up(history.item[events], weight[number, events], source, space, number, met)
    return met


@kernel
def weights_of(history: History, now: Int64s, sources: Sources) -> Float32s:
    """float32[s + v, m]: what each event weighs for each source; -1 where it does not count for a source of visits."""
    visits, events = len(sources.similar), (history.indptr, history.event_type, history.time, now)
    weight = np.empty((visits + len(sources.visited), len(history.item)), dtype=np.float32)
    for number in range(visits):
        source = sources.similar[number]
        if source.column != NONE:
            weight[number] = decayed(*events, source.weights, source.half_life_days)
    for number in range(len(sources.visited)):
        visited = sources.visited[number]
        if visited.column != NONE:
            own = decayed(*events, visited.types.astype(np.float64), visited.half_life_days)
            for at in range(len(own)):
                weight[visits + number, at] = own[at] if visited.types[history.event_type[at]] else -1
    return weight


@kernel
def sum_up(item: Int32s, weight: Float32s, source: Similar, space: Space, column: int, met: int) -> int:
    """Add up the weighted neighbours of a history's items, in a column of the sums; how many items are met then.

    Places are unsigned, as those that may count from the end take several times as long.
    """
    slots, items, sums, count = space.slots, space.met, space.sums[column], np.uint64(met)
    starts, neighbours, alike = source.starts, source.neighbours, source.alike
    for at in range(-AHEAD, len(item)):
        if at + AHEAD < len(item):
            begin, end = starts[item[at + AHEAD]], starts[item[at + AHEAD] + 1]
            ask_for(neighbours, begin, end)
            ask_for(alike, begin, end)
        if at >= 0:
            own = weight[at]
            for place in range(np.uint64(starts[item[at]]), np.uint64(starts[item[at] + 1])):
                number, count = number_of(np.uint64(neighbours[place]), slots, items, count)
                sums[number] += own * alike[place]
    return np.int64(count)  # type: ignore[return-value]


@kernel
def best_sums(
    column: int, excluded: int, met: int, space: Space, allowed: Bools, proposed: Int32s, own: Float32s
) -> None:
    """The best of the items that were met, of those with sums above 0, as :func:`recsys.order_kernels.best_allowed`.

    The first of them, so many, are excluded. Of the others hardly more than are wanted get as far as a key: the bar
    rises to the least of the best whenever some have come together.
    """
    sums, items, wanted = space.sums[column], space.met, len(proposed)
    keys, size, bar = np.empty(ENOUGH * wanted + WORD, dtype=np.int64), np.uint64(0), score_of(1 << 32)
    for first in range(excluded + 1, met + 1, WORD):
        bits = above(sums, first, bar)
        while bits:
            number = np.uint64(first) + lowest(bits)
            bits &= bits - np.uint64(1)
            item = items[number]
            keys[size] = key_of(sums[number], item)
            size += np.uint64(len(allowed) == 0 or allowed[item])
        if size >= ENOUGH * wanted:
            size = np.uint64(to_front(keys[:size], wanted))
            bar = score_of(keys[size - np.uint64(1)])
    _write_best(keys[: to_front(keys[:size], wanted)], proposed, own)


@kernel
def best_seen(
    item: Int32s, weight: Float32s, excluded: int, slots: Int32s, allowed: Bools, proposed: Int32s, own: Float32s
) -> None:
    """The best of a user's own items, of those that weigh more than 0."""
    keys, size = np.empty(len(item), dtype=np.int64), 0
    for at in range(len(item)):
        if weight[at] > 0 and not _is_first(slots[item[at]], excluded) and (len(allowed) == 0 or allowed[item[at]]):
            keys[size] = key_of(weight[at], item[at])
            size += 1
    _write_best(keys[:size], proposed, own)


@kernel
def _write_best(keys: Int64s, proposed: Int32s, own: Float32s) -> None:
    """The items and scores of some keys, no more than there is room for, the largest first; -1 and 0 behind."""
    size = len(keys)
    if size > MANY:
        keys.sort()
    for rank in range(min(size, len(proposed)), len(proposed)):
        proposed[rank], own[rank] = NONE, 0
    for at in range(size):
        rank = size - 1 - at if size > MANY else _larger(keys, keys[at])
        if rank < len(proposed):
            proposed[rank], own[rank] = 0x7FFFFFFF - (keys[at] & 0x7FFFFFFF), score_of(keys[at])


@kernel
def _larger(keys: Int64s, than: int) -> int:
    """How many keys are larger than one; without a branch, so that many are compared at once."""
    count = 0
    for at in range(np.uint64(len(keys))):
        count += keys[at] > than
    return count


@kernel
def most_popular(
    popularity: Float32s, order: Int32s, excluded: int, slots: Int32s, proposed: Int32s, own: Float32s
) -> None:
    """The first popular items that are not excluded."""
    place = 0
    for rank in range(len(proposed)):
        while place < len(order) and _is_first(slots[order[place]], excluded):
            place += 1
        found = place < len(order)
        proposed[rank] = order[place] if found else NONE
        own[rank] = popularity[order[place]] if found else 0
        place += 1


@kernel
def _is_first(number: int, count: int) -> bool:
    """Whether a number is among the first ones: of what is excluded, as that is met first."""
    return 0 < number <= count
