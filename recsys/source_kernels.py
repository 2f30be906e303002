"""What retrieval works on: the sources as arrays, the queries' histories, and what is noted down of items meanwhile."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recsys.code_kernels import Blocks
from recsys.kernel import inner_kernel, kernel
from recsys.types import Bools, Float32s, Float64s, Int8s, Int32s, Int64s, UInt16s

NONE = -1
"""Column of a source that is not there."""
LARGEST = 2**31 - 1
"""Of int32."""


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
    """The source of popular items: its column, and float32[n_items]."""

    column: int
    popularity: Float32s


class Spectral(NamedTuple):
    """Makes vectors of histories: a column, and what SpectralSource has."""

    column: int
    weights: Float64s
    half_life_days: float
    share: Float32s
    bits: UInt16s


class Searched(NamedTuple):
    """A source of the largest inner products: its column, the number of its vectors, its bits, and its blocks."""

    column: int
    vectors: int
    bits: UInt16s
    blocks: Blocks


class Product(NamedTuple):
    """Scores that are inner products: a column, the number of the vectors, and the factors' bits uint16[n_items, d].

    Items not known (bool[n_items]; of length 0 where every item is) have score 0. What is proposed by a search has its
    product already.
    """

    column: int
    vectors: int
    bits: UInt16s
    known: Bools
    searched: bool


class Sources(NamedTuple):
    """The sources that are only arrays, and the scores that are inner products. Columns that nobody fills are 0.

    ``users`` are the bits of the users' vectors, uint16[n_users, d]; of length 0 where they are not stored as such.
    """

    users: UInt16s
    similar: tuple[Similar, ...]
    visited: tuple[Visited, ...]
    popular: Popular
    spectral: Spectral
    searched: tuple[Searched, ...]
    said: tuple[Product, ...]


class Space(NamedTuple):
    """What is noted down of items while a query is worked on; they are numbered from 1 as the query meets them.

    All is 0 between queries, but for ``met``, which may hold anything, and what tells the numbers: those of one query
    are above those of all before it, so that these need not be taken back, one by one and anywhere in memory.

    Attributes:
        slots: int32[n_items], for who notes down something else.
        numbers: int32[n_items], the number of an item and ``before``; less than that where it was not met.
        before: int64[1], what is added to numbers.
        met: int32[n_items + 2], the items by number: one more than there are, as each is written down before it is
            known whether it is new, so that no branch is foretold.
        sums: float32[s, n_items + 2 + WORD], for each source of similar items, by number.
        places: int32[n_items + 2], by number, the 1-based place among the candidates.
    """

    slots: Int32s
    numbers: Int32s
    before: Int64s
    met: Int32s
    sums: Float32s
    places: Int32s


class Work(NamedTuple):
    """What one query is worked on with, of K proposals by S sources, and of e events; whatever it holds before.

    Attributes:
        chosen: int32[K], the candidates.
        numbers: int32[K], of the candidates, and
        proposed: int32[K], of the proposals; 0 where there is none.
        spare: int32[K].
        items: int32[K].
        query: int32[K].
        score: float32[S, K].
        rank: float32[S, K].
        blend: float32[K].
        kept: bool[K].
        seen: int32[v, e], for each source of visits the user's items, and
        seen_weight: float32[v, e] what they weigh.
        seen_count: int64[v].
        links: int64[2, e].
        own: int32[e], the items of a history, each once, and
        own_weight: float32[e] what they weigh.
    """

    chosen: Int32s
    numbers: Int32s
    proposed: Int32s
    spare: Int32s
    items: Int32s
    query: Int32s
    score: Float32s
    rank: Float32s
    blend: Float32s
    kept: Bools
    seen: Int32s
    seen_weight: Float32s
    seen_count: Int64s
    links: Int64s
    own: Int32s
    own_weight: Float32s


@kernel
def working(sources: Sources, width: int, columns: int, events: int) -> Work:
    """What each query is worked on with, one after the other."""
    visited = len(sources.visited)
    return Work(
        np.empty(width, np.int32),
        np.empty(width, np.int32),
        np.empty(width, np.int32),
        np.empty(width, np.int32),
        np.empty(width, np.int32),
        np.empty(width, np.int32),
        np.empty((columns, width), np.float32),
        np.empty((columns, width), np.float32),
        np.empty(width, np.float32),
        np.empty(width, np.bool_),
        np.empty((visited, events), np.int32),
        np.empty((visited, events), np.float32),
        np.zeros(visited, np.int64),
        np.empty((2, events), np.int64),
        np.empty(events, np.int32),
        np.empty(events, np.float32),
    )


@inner_kernel
def begin(space: Space) -> None:
    """Make room for the numbers of a query."""
    if space.before[0] + len(space.numbers) > LARGEST:
        space.numbers[:] = 0
        space.before[0] = 0


@inner_kernel
def number_of(
    item: np.uint64, numbers: Int32s, before: np.int32, met: Int32s, count: np.uint64
) -> tuple[np.uint64, np.uint64]:
    """The number of an item, where so many were met; and how many are met then.

    The last one that was met gets its number, be it this one or, once more, one before: without a branch, and without
    a write for an item that has its number, anywhere in memory.
    """
    number = numbers[item] - before
    met[count + np.uint64(1)] = item
    count += np.uint64(number <= 0)
    numbers[np.uint64(met[count])] = before + np.int32(count)
    return (np.uint64(number) if number > 0 else count), count


@inner_kernel
def known_number(item: int, space: Space) -> int:
    """The number of an item that may have been met; 0 where it was not."""
    return int(max(space.numbers[np.uint64(item)] - space.before[0], 0))


@inner_kernel
def forget(space: Space, met: int) -> None:
    """Leave no trace of so many items that were met."""
    space.before[0] += met
    space.places[: met + 1] = 0
    for column in range(len(space.sums)):
        space.sums[column, : met + 1] = 0
