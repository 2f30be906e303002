"""What a query's history says, compiled: sums of similar items, the user's own items, and the best of each source."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recsys.history_kernels import decayed
from recsys.kernel import kernel
from recsys.memory_kernels import ask_for
from recsys.order_kernels import MANY, key_of, score_of
from recsys.row_kernels import visited_row
from recsys.types import Bools, Float32s, Float64s, Int8s, Int32s, Int64s, UInt8s

NONE = -1
"""Column of a source that is not there."""
NOTHING = np.float32(-1e-45)
"""A sum of an item that was met and has none: less than all that is proposed, and told from 0, which is of no item."""
BINS, DROPPED = 512, 17
"""Scores are counted by magnitude: by their bits less the last ones, which makes bins of some 1 %."""


class History(NamedTuple):
    """The queries' histories: indptr int64[q + 1] of the columns, newest first; int8 types and int64 unix seconds."""

    indptr: Int64s
    item: Int32s
    event_type: Int8s
    time: Int64s
    session: Int32s


class Similar(NamedTuple):
    """A source of the items most like those of a history: its column, and what SimilaritySource has."""

    column: int
    weights: Float64s
    half_life_days: float
    starts: Int64s
    neighbours: Int32s
    alike: Float32s


class Visited(NamedTuple):
    """A source of the user's own items: its column, and what RepeatsSource has."""

    column: int
    types: Bools
    half_life_days: float


class Popular(NamedTuple):
    """The source of popular items: its column, int32[m] the first of those allowed in their order, float32[n_items]."""

    column: int
    order: Int32s
    popularity: Float32s


class Spectral(NamedTuple):
    """Makes vectors of histories: a column, and what SpectralSource has."""

    column: int
    weights: Float64s
    half_life_days: float
    share: Float32s
    factors: Float32s


class Searched(NamedTuple):
    """A source of the largest inner products: its column, the number of its vectors, its factors, and its blocks."""

    column: int
    vectors: int
    factors: Float32s
    codes: UInt8s
    items: Int32s
    unit: Float32s
    length: Float32s


class Product(NamedTuple):
    """Scores that are inner products: a column, the number of the vectors and factors float32[n_items, d].

    Items not known (bool[n_items]; of length 0 where every item is) have score 0. What is proposed by a search has its
    product already.
    """

    column: int
    vectors: int
    factors: Float32s
    known: Bools
    searched: bool


class Sources(NamedTuple):
    """The sources that are only arrays, and the scores that are inner products. Columns that nobody fills are 0."""

    similar: tuple[Similar, ...]
    visited: tuple[Visited, ...]
    popular: Popular
    spectral: Spectral
    searched: tuple[Searched, ...]
    said: tuple[Product, ...]


class Space(NamedTuple):
    """What is noted down of items, all 0 and left so.

    Attributes:
        slots: int32[n_items].
        sums: float32[s, n_items], for each source of similar items.
        met: int32[s, n_items + 1], items whose sums are not 0; may hold anything.
    """

    slots: Int32s
    sums: Float32s
    met: Int32s


class Work(NamedTuple):
    """What one query is worked on with, of K proposals by S sources, and of e events; whatever it holds before.

    Attributes:
        chosen: int32[K], the candidates.
        spare: int32[K].
        items: int32[K].
        query: int32[K].
        score: float32[S, K].
        rank: float32[S, K].
        blend: float32[K].
        kept: bool[K].
        met: int64[s], for each source of similar items how many were met.
        seen: int32[v, e], for each source of visits the user's items, and
        seen_weight: float32[v, e] what they weigh.
        seen_count: int64[v].
        links: int64[2, e].
    """

    chosen: Int32s
    spare: Int32s
    items: Int32s
    query: Int32s
    score: Float32s
    rank: Float32s
    blend: Float32s
    kept: Bools
    met: Int64s
    seen: Int32s
    seen_weight: Float32s
    seen_count: Int64s
    links: Int64s


@kernel
def working(sources: Sources, width: int, columns: int, events: int) -> Work:
    """What each query is worked on with, one after the other."""
    visited = len(sources.visited)
    return Work(
        np.empty(width, np.int32),
        np.empty(width, np.int32),
        np.empty(width, np.int32),
        np.empty(width, np.int32),
        np.empty((columns, width), np.float32),
        np.empty((columns, width), np.float32),
        np.empty(width, np.float32),
        np.empty(width, np.bool_),
        np.zeros(len(sources.similar), np.int64),
        np.empty((visited, events), np.int32),
        np.empty((visited, events), np.float32),
        np.zeros(visited, np.int64),
        np.empty((2, events), np.int64),
    )


@kernel
def look_back(history: History, events: slice, weight: Float32s, sources: Sources, space: Space, work: Work) -> None:
    """What one history says: the sums of similar items, and the user's own items."""
    item, session, visits = history.item[events], history.session[events], len(sources.similar)
    for number in range(len(sources.similar)):
        source = sources.similar[number]
        if source.column != NONE:
            own = weight[number, events]
            work.met[number] = sum_up(item, own, source, space.sums[number], space.met[number])
    for number in range(len(sources.visited)):
        if sources.visited[number].column != NONE:
            own, seen, seen_weight = weight[visits + number, events], work.seen[number], work.seen_weight[number]
            work.seen_count[number] = visited_row(item, session, own, space.slots, seen, seen_weight, work.links)


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
def sum_up(item: Int32s, weight: Float32s, source: Similar, sums: Float32s, met: Int32s) -> int:
    """Add up the weighted neighbours of a history's items, in float32[n]; how many items were met: in int32[n + 1].

    One more than there are, as each is written down before it is known whether it counts: no branch is foretold.
    """
    for known in item:
        ask_for(source.neighbours, source.starts[known], source.starts[known + 1])
        ask_for(source.alike, source.starts[known], source.starts[known + 1])
    count = 0
    for at in range(len(item)):
        for place in range(source.starts[item[at]], source.starts[item[at] + 1]):
            neighbour = source.neighbours[place]
            before = sums[neighbour]
            summed = np.float32(before + weight[at] * source.alike[place])
            sums[neighbour] = summed if summed != 0 else NOTHING
            met[np.uint64(count)] = neighbour
            count += before == 0
    return count


@kernel
def best_sums(met: Int32s, sums: Float32s, slots: Int32s, allowed: Bools, proposed: Int32s, own: Float32s) -> None:
    """The best of the items that were met, of those with sums above 0, as :func:`recsys.order_kernels.best_allowed`.

    Sums are counted by magnitude, so that hardly more than are wanted are put in order.
    """
    bits, bits_of, top = np.empty(len(met), dtype=np.int32), sums.view(np.int32), np.int32(0)
    for at in range(len(met)):
        item = met[at]
        may = (slots[item] == 0) & (len(allowed) == 0 or allowed[item])
        bits[at] = max(bits_of[item], 0) if may else 0
        top = max(top, bits[at])
    least = _least(bits, int(top), len(proposed))
    keys, size = np.empty(len(met) + 1, dtype=np.int64), np.uint64(0)
    for at in range(len(met)):
        keys[size] = (np.int64(bits[at]) << 32) | (0x7FFFFFFF - np.int64(met[at]))
        size += np.uint64(bits[at] >= least)
    _write_best(keys[:size], proposed, own)


@kernel
def _least(bits: Int32s, top: int, wanted: int) -> int:
    """The bits of a score above 0 that at least so many reach, or all that are above 0; of int32[n], up to ``top``."""
    counts, reached = np.zeros(BINS, dtype=np.int64), 0
    for own in bits:
        counts[min((top - own) >> DROPPED, BINS - 1)] += own > 0
    for place in range(BINS - 1):
        reached += counts[place]
        if reached >= wanted:
            return max(top - ((place + 1) << DROPPED) + 1, 1)
    return 1


@kernel
def best_seen(item: Int32s, weight: Float32s, slots: Int32s, allowed: Bools, proposed: Int32s, own: Float32s) -> None:
    """The best of a user's own items, of those that weigh more than 0."""
    keys, size = np.empty(len(item), dtype=np.int64), 0
    for at in range(len(item)):
        if weight[at] > 0 and slots[item[at]] == 0 and (len(allowed) == 0 or allowed[item[at]]):
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
def most_popular(popular: Popular, slots: Int32s, proposed: Int32s, own: Float32s) -> None:
    """The first popular items that are not excluded."""
    place = 0
    for rank in range(len(proposed)):
        while place < len(popular.order) and slots[popular.order[place]] != 0:
            place += 1
        found = place < len(popular.order)
        proposed[rank] = popular.order[place] if found else NONE
        own[rank] = popular.popularity[popular.order[place]] if found else 0
        place += 1
