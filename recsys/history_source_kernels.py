"""What a query's history says, compiled: sums of similar items, the user's own items, and the best of each source."""

from __future__ import annotations

import numpy as np

from recsys.code_kernels import WORD, above, lowest, ones
from recsys.history_kernels import decayed
from recsys.kernel import inner_kernel, kernel
from recsys.memory_kernels import ask_for
from recsys.order_kernels import put_in_order
from recsys.row_kernels import once, visited_row
from recsys.source_kernels import NONE, History, Similar, Sources, Space, Work, known_number, number_of
from recsys.types import Bools, Float32s, Int32s, Int64s

AHEAD = 8
"""Items whose neighbours, each list anywhere in memory, are asked for ahead."""
SPARE = 4
"""One for so many that are wanted may reach a bar beyond them."""
NEAR = 4 << 23
"""Between the bits of a float32 and of a sixteenth of it: where the best that are wanted mostly begin."""


@inner_kernel
def visit(history: History, events: slice, weight: Float32s, sources: Sources, space: Space, work: Work) -> None:
    """Fill what one history says of the user's own items, before any item has a number."""
    item, session, visits = history.item[events], history.session[events], len(sources.similar)
    for number in range(len(sources.visited)):
        if sources.visited[number].column != NONE:
            own, seen, seen_weight = weight[visits + number, events], work.seen[number], work.seen_weight[number]
            work.seen_count[number] = visited_row(item, session, own, space.slots, seen, seen_weight, work.links)


@inner_kernel
def meet(
    history: History, events: slice, weight: Float32s, sources: Sources, space: Space, work: Work, met: int
) -> int:
    """Sum up what is similar to one history, where so many items were met; how many are met then."""
    for number in range(len(sources.similar)):
        source = sources.similar[number]
        if source.column != NONE:
            item, own = history.item[events], weight[number, events]
            count = once(item, own, space.slots, work.own, work.own_weight)
            met = sum_up(work.own[:count], work.own_weight[:count], source, space, number, met)
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


@inner_kernel
def sum_up(item: Int32s, weight: Float32s, source: Similar, space: Space, column: int, met: int) -> int:
    """Add up the weighted neighbours of some items, in a column of the sums; how many items are met then.

    Places are unsigned, as those that may count from the end take several times as long.
    """
    numbers, items, sums, count = space.numbers, space.met, space.sums[column], np.uint64(met)
    before = np.int32(space.before[0])
    starts, neighbours, alike = source.starts, source.neighbours, source.alike
    for at in range(-AHEAD, len(item)):
        if at + AHEAD < len(item):
            begin, end = starts[item[at + AHEAD]], starts[item[at + AHEAD] + 1]
            ask_for(neighbours, begin, end)
            ask_for(alike, begin, end)
        if at >= 0:
            own = weight[at]
            for place in range(np.uint64(starts[item[at]]), np.uint64(starts[item[at] + 1])):
                number, count = number_of(np.uint64(neighbours[place]), numbers, before, items, count)
                sums[number] += own * alike[place]
    return np.int64(count)  # type: ignore[return-value]


@kernel
def best_sums(
    column: int, excluded: int, met: int, space: Space, allowed: Bools, proposed: Int32s, own: Float32s
) -> None:
    """The best of the items that were met, of those with sums above 0, as :func:`recsys.order_kernels.best_allowed`.

    The first of them, so many, are excluded.
    """
    first, stop = excluded + 1, met + 1
    sums = space.sums[column] if len(allowed) == 0 else _permitted(space.sums[column], space.met, stop, allowed)
    bar, count = _bar(sums, first, stop, len(proposed))
    item, score, size = np.empty(count, np.int32), np.empty(count, np.float32), np.uint64(0)
    for start in range(first, stop, WORD):
        bits = above(sums, start, bar)
        while bits:
            number = np.uint64(start) + lowest(bits)
            bits &= bits - np.uint64(1)
            item[size], score[size] = space.met[number], sums[number]
            size += np.uint64(1)
    put_in_order(item, score, proposed, own)


@kernel
def _permitted(sums: Float32s, met: Int32s, stop: int, allowed: Bools) -> Float32s:
    """A copy of the sums up to some number, 0 of what is not allowed, and WORD more."""
    own = np.zeros(stop + WORD, np.float32)
    for number in range(1, stop):
        own[number] = sums[number] if allowed[met[number]] else np.float32(0)
    return own


@kernel
def _bar(sums: Float32s, first: int, stop: int, wanted: int) -> tuple[np.float32, int]:
    """A number above 0 that hardly more sums reach than are wanted, and how many do; if there are fewer, all above 0.

    To count all of them some ten times, many at once, takes less than to tell the larger from the smaller ones of any
    part of them: there is no branch to foretell. What is halved are the bits of numbers, which rise as these do.
    """
    bits, largest = sums.view(np.int32), np.int32(0)
    for number in range(first, stop):
        largest = np.int32(max(largest, bits[number]))
    low, high, tried = 1, int(largest) + 1, max(int(largest) - NEAR, 1)
    count = _reaching(sums, first, stop, low)
    while count > wanted + wanted // SPARE and low + 1 < high:
        reached = _reaching(sums, first, stop, tried)
        if reached < wanted:
            high = tried
        else:
            low, count = tried, reached
        tried = (low + high) // 2
    return np.int32(low).view(np.float32), count


@inner_kernel
def _reaching(sums: Float32s, first: int, stop: int, bits: int) -> int:
    """How many sums reach the number that some bits stand for; what stands behind them is 0."""
    bar, count = np.int32(bits).view(np.float32), np.uint64(0)
    for start in range(first, stop, WORD):
        count += ones(above(sums, start, bar))
    return np.int64(count)  # type: ignore[return-value]


@kernel
def best_seen(
    item: Int32s, weight: Float32s, excluded: int, space: Space, allowed: Bools, proposed: Int32s, own: Float32s
) -> None:
    """The best of a user's own items, of those that weigh more than 0."""
    found, score, size = np.empty(len(item), np.int32), np.empty(len(item), np.float32), 0
    for at in range(len(item)):
        if weight[at] > 0 and not _is_first(item[at], excluded, space) and (len(allowed) == 0 or allowed[item[at]]):
            found[size], score[size] = item[at], weight[at]
            size += 1
    put_in_order(found[:size], score[:size], proposed, own)


@inner_kernel
def most_popular(
    popularity: Float32s, order: Int32s, excluded: int, space: Space, proposed: Int32s, own: Float32s
) -> None:
    """The first popular items that are not excluded."""
    place, end = np.uint64(0), np.uint64(len(order))
    for rank in range(np.uint64(len(proposed))):
        while place < end and _is_first(order[place], excluded, space):
            place += np.uint64(1)
        found = place < end
        proposed[rank] = order[place] if found else NONE
        own[rank] = popularity[np.uint64(order[place])] if found else 0
        place += np.uint64(1)


@inner_kernel
def _is_first(item: int, count: int, space: Space) -> bool:
    """Whether an item's number is among the first ones: of what is excluded, as that is met first."""
    return count > 0 and 0 < known_number(item, space) <= count
