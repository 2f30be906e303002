"""Retrieval in one compiled call: what sources propose for each query, merged, scored and cut.

Query by query, so that what one query needs stays in the processor's cache, and nothing is handed from call to call.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recsys.candidate_kernels import (
    Merging,
    fill_blend,
    fill_products,
    fill_ranks,
    mark_kept,
    most_of,
    part_of,
    places_kept,
    union,
    write_down,
)
from recsys.held_kernels import Held
from recsys.history_kernels import vectors_of
from recsys.history_source_kernels import best_seen, best_sums, meet, most_popular, visit, weights_of
from recsys.index_kernels import best
from recsys.kernel import inner_kernel, kernel
from recsys.merge_kernels import scale_of
from recsys.row_kernels import weighted_rows
from recsys.source_kernels import (
    NONE,
    History,
    Product,
    Sources,
    Space,
    Spectral,
    Work,
    begin,
    forget,
    known_number,
    number_of,
    working,
)
from recsys.types import Bools, Float32s, Int32s, Int64s

LIVE = 2
OF_ALS, OF_SPECTRAL = 0, 1
"""The numbers of vectors."""


class Asked(NamedTuple):
    """The queries.

    Attributes:
        user: int32[q], -1 where the user vector is folded in.
        now: int64[q], unix seconds.
        discovery: bool[q], whether purchased items are kept out.
        excluded: int64[e], sorted keys ``query * n_items + item`` of what must not be in the slate.
        allowed: bool[n_items]; of length 0 where every item is.
    """

    user: Int32s
    now: Int64s
    discovery: Bools
    excluded: Int64s
    allowed: Bools


Vectors = tuple[Float32s, Float32s]
"""float32[q, d] each: of ALS, and of the spectral source."""
Found = tuple[Int32s, Int32s, Float32s, Float32s, Float32s, Float32s]
"""Candidates: queries int32[n], items int32[n], scores float32[n, S], ranks float32[n, S], scales float32[q, S], and
the blend float32[n]."""


@kernel
def retrieved(
    held: Held,
    history: History,
    asked: Asked,
    popular: Int32s,
    given: Float32s,
    proposed: Int32s,
    own: Float32s,
    merging: Merging,
    space: Space,
) -> Found:
    """The candidates of each query, ordered by query, then item.

    Args:
        held: some of the sources (:class:`recsys.source_kernels.Sources`).
        history: of the queries.
        asked: the queries.
        popular: int32[m], the first items of the source of popular ones that are allowed, in its order.
        given: float32[q, d], the vectors of ALS; of length 0 where they are all those of stored users.
        proposed: int32[q, K], what the other sources propose, best first, -1 after the last; the rest is filled. Of no
            row where there are no others.
        own: float32[q, K], the scores of these.
        merging: how they become candidates.
        space: of this thread.
    """
    sources: Sources = held.value
    rows, width, columns = len(asked.now), merging.starts[-1], len(merging.starts) - 1
    if len(proposed) == 0:
        proposed, own = np.empty((rows, width), np.int32), np.empty((rows, width), np.float32)
    most = most_of(merging, width) * rows
    query, item, blend = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.float32)
    score, rank = np.empty((most, columns), np.float32), np.empty((most, columns), np.float32)
    scale, used, stop = np.empty((rows, columns), np.float32), 0, 0
    weight = weights_of(history, asked.now, sources)
    of_als = given if len(given) or len(sources.users) == 0 else vectors_of(asked.user, sources.users)
    vectors = (of_als, _spectral(history, asked.now, sources.spectral))
    _search(sources, vectors, asked, merging, space.slots, proposed, own)
    work = working(sources, width, columns, len(history.item))
    for row in range(rows):
        events, start, offset = slice(history.indptr[row], history.indptr[row + 1]), stop, row * len(space.slots)
        begin(space)
        visit(history, events, weight, sources, space, work)
        while stop < len(asked.excluded) and asked.excluded[stop] < offset + len(space.slots):
            out, n_out = np.uint64(asked.excluded[stop] - offset), np.uint64(stop - start)
            number_of(out, space.numbers, np.int32(space.before[0]), space.met, n_out)
            stop += 1
        met = meet(history, events, weight, sources, space, work, stop - start)
        noted = (popular, asked.allowed, stop - start, met)
        _propose(sources, merging, noted, space, work, proposed[row], own[row])
        count, met = union(proposed[row], work, space, met)
        for source in range(columns):
            part = part_of(merging, source)
            fill_ranks(work.rank[source, :count], work.proposed[part], space.places)
            scale[row, source] = scale_of(proposed[row, part], own[row, part], merging.depth, merging.share)
        work.score[:, :count] = 0
        _multiply(row, work.chosen[:count], sources.said, vectors, space.places, work, own[row], merging)
        _score(count, sources, space, work)
        forget(space, met)
        mode = LIVE if asked.user[row] < 0 else int(asked.discovery[row])
        fill_blend(work.score, scale[row], merging.weights[mode], work.blend[:count])
        mark_kept(work.blend[:count], work.rank, merging, work.kept[:count])
        kept = places_kept(work, count)
        end = used + len(kept)
        query[used:end] = row
        write_down(kept, work, item[used:end], blend[used:end], score[used:end], rank[used:end])
        used = end
    return query[:used], item[:used], score[:used], rank[:used], scale, blend[:used]


@inner_kernel
def _propose(
    sources: Sources,
    merging: Merging,
    noted: tuple[Int32s, Bools, int, int],
    space: Space,
    work: Work,
    proposed: Int32s,
    own: Float32s,
) -> None:
    """Fill one query's proposals int32[K] and their scores float32[K].

    Args:
        sources: of which some propose here.
        merging: says where.
        noted: the popular items and those allowed, how many items are excluded, and how many the query has met.
        space: with the items that it has met.
        work: with what its history says.
        proposed: int32[K].
        own: float32[K].
    """
    popular, allowed, excluded, met = noted
    for number in range(len(sources.similar)):
        if sources.similar[number].column != NONE:
            part = part_of(merging, sources.similar[number].column)
            best_sums(number, excluded, met, space, allowed, proposed[part], own[part])
    for number in range(len(sources.visited)):
        if sources.visited[number].column != NONE:
            part, count = part_of(merging, sources.visited[number].column), work.seen_count[number]
            seen, weight = work.seen[number, :count], work.seen_weight[number, :count]
            best_seen(seen, weight, excluded, space, allowed, proposed[part], own[part])
    if sources.popular.column != NONE:
        part = part_of(merging, sources.popular.column)
        most_popular(sources.popular.popularity, popular, excluded, space, proposed[part], own[part])


@inner_kernel
def _multiply(
    row: int,
    chosen: Int32s,
    said: tuple[Product, ...],
    vectors: Vectors,
    places: Int32s,
    work: Work,
    own: Float32s,
    merging: Merging,
) -> None:
    """The inner products of one query's candidates; those that a search has found are taken from there."""
    work.query[: len(chosen)] = row
    for number in range(len(said)):
        one = said[number]
        if one.column != NONE:
            fill_products(one, vectors[one.vectors], chosen, work.rank[one.column], work, work.score[one.column])
            if one.searched:
                score = work.score[one.column]
                for at in range(np.uint64(merging.starts[one.column]), np.uint64(merging.starts[one.column + 1])):
                    if work.proposed[at]:
                        score[np.uint64(places[np.uint64(work.proposed[at])] - 1)] = own[at]


@inner_kernel
def _score(count: int, sources: Sources, space: Space, work: Work) -> None:
    """What else is said of so many candidates of one query."""
    popular = sources.popular
    for number in range(len(sources.similar)):
        if sources.similar[number].column != NONE:
            score = work.score[sources.similar[number].column]
            for place in range(np.uint64(count)):
                score[place] = space.sums[number, np.uint64(work.numbers[place])]
    for number in range(len(sources.visited)):
        if sources.visited[number].column != NONE:
            own, seen, weight = sources.visited[number], work.seen[number], work.seen_weight[number]
            for at in range(work.seen_count[number]):
                place = space.places[known_number(seen[at], space)]
                if place:
                    work.score[own.column, place - 1] = weight[at]
    if popular.column != NONE:
        for place in range(np.uint64(count)):
            work.score[popular.column, place] = popular.popularity[np.uint64(work.chosen[place])]


@kernel
def _spectral(history: History, now: Int64s, source: Spectral) -> Float32s:
    """The vectors of the spectral source, if it is there."""
    if source.column == NONE:
        return np.empty((0, 0), np.float32)
    events = (history.indptr, history.item, history.event_type, history.time, now)
    return weighted_rows(*events, source.weights, source.half_life_days, source.share, source.bits)


@kernel
def _search(
    sources: Sources,
    vectors: Vectors,
    asked: Asked,
    merging: Merging,
    slots: Int32s,
    proposed: Int32s,
    own: Float32s,
) -> None:
    """Fill what the sources of largest inner products propose for all queries, and the scores of it."""
    for number in range(len(sources.searched)):
        source = sources.searched[number]
        if source.column != NONE:
            start, stop = merging.starts[source.column], merging.starts[source.column + 1]
            may = (asked.excluded, asked.allowed, slots)
            item, score, _ = best(source.blocks, source.bits, vectors[source.vectors], stop - start, *may)
            for row in range(len(item)):
                for place in range(start, stop):
                    proposed[row, place], own[row, place] = item[row, place - start], score[row, place - start]
