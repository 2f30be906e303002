"""Retrieval in one compiled call: what sources propose for each query, merged, scored and cut.

Query by query, so that what one query needs stays in the processor's cache, and nothing is handed from call to call.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recsys.held_kernels import Held
from recsys.history_kernels import vectors_of
from recsys.history_source_kernels import (
    NONE,
    History,
    Product,
    Sources,
    Space,
    Spectral,
    Work,
    best_seen,
    best_sums,
    forget,
    meet,
    most_popular,
    number_of,
    visit,
    weights_of,
    working,
)
from recsys.index_kernels import best
from recsys.kernel import kernel
from recsys.merge_kernels import scale_of, sort
from recsys.order_kernels import mark_leading
from recsys.product_kernels import products
from recsys.row_kernels import weighted_rows
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


class Merging(NamedTuple):
    """How proposals become candidates.

    Attributes:
        starts: int64[S + 1], the columns of source s among the proposals are ``starts[s]:starts[s + 1]``.
        depth: 1-based place of the score that is a source's scale.
        share: of its best score, below which a score is no scale.
        weights: float32[3, S], of the scaled scores, for each mode.
        limit: candidates that are kept by their blend; 0: all are, and have no blend.
        reserved: bool[S], sources of whose proposals all are kept.
    """

    starts: Int64s
    depth: int
    share: float
    weights: Float32s
    limit: int
    reserved: Bools


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
        held: some of the sources (:class:`recsys.history_source_kernels.Sources`).
        history: of the queries.
        asked: the queries.
        popular: int32[m], the first items of the source of popular ones that are allowed, in its order.
        given: float32[q, d], the vectors of ALS; of length 0 where they are all those of stored users.
        proposed: int32[q, K], what the other sources propose, best first, -1 after the last; the rest is filled.
        own: float32[q, K], the scores of these.
        merging: how they become candidates.
        space: of this thread.
    """
    sources: Sources = held.value
    rows, width, columns = len(asked.now), proposed.shape[1], len(merging.starts) - 1
    most = _most(merging, width) * rows
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
        visit(history, events, weight, sources, space, work)
        while stop < len(asked.excluded) and asked.excluded[stop] < offset + len(space.slots):
            number_of(np.uint64(asked.excluded[stop] - offset), space.slots, space.met, np.uint64(stop - start))
            stop += 1
        met = meet(history, events, weight, sources, space, stop - start)
        noted = (popular, asked.allowed, stop - start, met)
        _propose(sources, merging, noted, space, work, proposed[row], own[row])
        count, met = union(proposed[row], work, space, met)
        for source in range(columns):
            part = _part(merging, source)
            fill_ranks(work.rank[source, :count], work.proposed[part], space.places)
            scale[row, source] = scale_of(proposed[row, part], own[row, part], merging.depth, merging.share)
        work.score[:, :count] = 0
        _multiply(row, work.chosen[:count], sources.said, vectors, space.places, work, own[row], merging)
        _score(count, sources, space, work)
        forget(space, met)
        mode = LIVE if asked.user[row] < 0 else int(asked.discovery[row])
        _blend(work.score, scale[row], merging.weights[mode], work.blend[:count])
        _keep(work.blend[:count], work.rank, merging, work.kept[:count])
        kept = _places_kept(work, count)
        end = used + len(kept)
        query[used:end] = row
        _write(kept, work, item[used:end], blend[used:end], score[used:end], rank[used:end])
        used = end
    return query[:used], item[:used], score[:used], rank[:used], scale, blend[:used]


@kernel
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
            part = _part(merging, sources.similar[number].column)
            best_sums(number, excluded, met, space, allowed, proposed[part], own[part])
    for number in range(len(sources.visited)):
        if sources.visited[number].column != NONE:
            part, count = _part(merging, sources.visited[number].column), work.seen_count[number]
            seen, weight = work.seen[number, :count], work.seen_weight[number, :count]
            best_seen(seen, weight, excluded, space.slots, allowed, proposed[part], own[part])
    if sources.popular.column != NONE:
        part = _part(merging, sources.popular.column)
        most_popular(sources.popular.popularity, popular, excluded, space.slots, proposed[part], own[part])


@kernel
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
            _fill_products(one, vectors[one.vectors], chosen, work.rank[one.column], work, work.score[one.column])
            if one.searched:
                for at in range(merging.starts[one.column], merging.starts[one.column + 1]):
                    if work.proposed[at]:
                        work.score[one.column, places[work.proposed[at]] - 1] = own[at]


@kernel
def _score(count: int, sources: Sources, space: Space, work: Work) -> None:
    """What else is said of so many candidates of one query."""
    popular = sources.popular
    for number in range(len(sources.similar)):
        if sources.similar[number].column != NONE:
            score = work.score[sources.similar[number].column]
            for place in range(count):
                score[place] = space.sums[number, work.numbers[place]]
    for number in range(len(sources.visited)):
        if sources.visited[number].column != NONE:
            own, seen, weight = sources.visited[number], work.seen[number], work.seen_weight[number]
            for at in range(work.seen_count[number]):
                place = space.places[space.slots[seen[at]]]
                if place:
                    work.score[own.column, place - 1] = weight[at]
    if popular.column != NONE:
        for place in range(count):
            work.score[popular.column, place] = popular.popularity[work.chosen[place]]


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


@kernel
def _places_kept(work: Work, count: int) -> Int32s:
    """int32[m], rising: the places of those that are kept, of so many candidates."""
    found, places = np.uint64(0), work.spare
    for place in range(np.uint64(count)):
        places[found] = place
        found += np.uint64(work.kept[place])
    return places[:found]


@kernel
def _write(places: Int32s, work: Work, item: Int32s, blend: Float32s, score: Float32s, rank: Float32s) -> None:
    """Write down the candidates at m places: int32[m], float32[m], float32[m, S], float32[m, S]."""
    for at in range(np.uint64(len(places))):
        place = np.uint64(places[at])
        item[at], blend[at] = work.chosen[place], work.blend[place]
    for source in range(np.uint64(score.shape[1])):
        own_score, own_rank = work.score[source], work.rank[source]
        for at in range(np.uint64(len(places))):
            place = np.uint64(places[at])
            score[at, source], rank[at, source] = own_score[place], own_rank[place]


@kernel
def _most(merging: Merging, width: int) -> int:
    """Candidates that a query may have."""
    if merging.limit == 0:
        return width
    most = merging.limit
    for source in range(len(merging.reserved)):
        if merging.reserved[source]:
            most += merging.starts[source + 1] - merging.starts[source]
    return min(most, width)


@kernel
def _part(merging: Merging, source: int) -> slice:
    """Where a source's proposals stand."""
    return slice(merging.starts[source], merging.starts[source + 1])


@kernel
def union(proposed: Int32s, work: Work, space: Space, met: int) -> tuple[int, int]:
    """Write down the different items of int32[K], rising, as candidates; how many these are, and how many are met."""
    places, slots, chosen, count, known = space.places, space.slots, work.chosen, np.uint64(0), np.uint64(met)
    for at in range(np.uint64(len(proposed))):
        number = np.uint64(0)
        if proposed[at] >= 0:
            number, known = number_of(np.uint64(proposed[at]), slots, space.met, known)
            chosen[count] = proposed[at]
            count += np.uint64(places[number] == 0)
            places[number] = 1
        work.proposed[at] = number
    sort(chosen[:count], work.spare[:count], len(slots))
    for place in range(count):
        number = np.uint64(slots[np.uint64(chosen[place])])
        work.numbers[place], places[number] = number, place + np.uint64(1)
    return np.int64(count), np.int64(known)  # type: ignore[return-value]


@kernel
def fill_ranks(ranks: Float32s, proposed: Int32s, places: Int32s) -> None:
    """The 1-based place of each candidate, float32[n], in what one source proposes; NaN where it is not there.

    Args:
        ranks: float32[n], which is written.
        proposed: int32[k], numbers of items, best first; 0 for none.
        places: int32[m], by number, the 1-based place among the candidates.
    """
    ranks[:] = np.nan
    for place in range(len(proposed)):
        if proposed[place]:
            ranks[places[proposed[place]] - 1] = place + 1


@kernel
def _fill_products(said: Product, vectors: Float32s, item: Int32s, rank: Float32s, work: Work, score: Float32s) -> None:
    """The inner products of one query's candidates that are known, but for those that a search has found."""
    places, items, found, used = work.spare, work.items, work.blend, np.uint64(0)
    for place in range(np.uint64(len(item))):
        places[used], items[used] = place, item[place]
        is_known = len(said.known) == 0 or said.known[np.uint64(item[place])]
        used += np.uint64(is_known & ~(said.searched & np.isfinite(rank[place])))
    products(work.query[:used], items[:used], vectors, said.bits, found[:used])
    for at in range(used):
        score[np.uint64(places[at])] = found[at]


@kernel
def _blend(scores: Float32s, scale: Float32s, weights: Float32s, blended: Float32s) -> None:
    """The weighted sum of the scaled scores float32[S, n or more] of each candidate, float32[n]."""
    blended[:] = 0
    for source in range(len(scale)):
        own, unit, weight = scores[source], scale[source], weights[source]
        for place in range(len(blended)):
            blended[place] += own[place] / unit * weight


@kernel
def _keep(blended: Float32s, ranks: Float32s, merging: Merging, kept: Bools) -> None:
    """Mark the candidates of largest blend, and those of the sources of which all are kept."""
    mark_leading(blended, merging.limit if merging.limit > 0 else len(blended), kept)
    for source in range(len(merging.reserved)):
        if merging.reserved[source]:
            for place in range(len(kept)):
                kept[place] |= not np.isnan(ranks[source, place])
