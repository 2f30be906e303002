"""Retrieval in one compiled call: what sources propose for each query, merged, scored and cut.

Query by query, so that what one query needs stays in the processor's cache, and nothing is handed from call to call.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recsys.history_source_kernels import (
    NONE,
    NOTHING,
    History,
    Product,
    Sources,
    Space,
    Spectral,
    Work,
    best_seen,
    best_sums,
    look_back,
    most_popular,
    weights_of,
    working,
)
from recsys.index_kernels import best
from recsys.kernel import kernel
from recsys.merge_kernels import scale_of, sort
from recsys.order_kernels import mark, mark_leading
from recsys.product_kernels import products
from recsys.row_kernels import weighted_rows
from recsys.types import Bools, Float32s, Int32s, Int64s

LIVE = 2


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


Vectors = tuple[Float32s, Float32s, Float32s, Float32s]
"""float32[q, d] each: of ALS, of the spectral source, and two that the other sources bring along."""
Found = tuple[Int32s, Int32s, Float32s, Float32s, Float32s, Float32s]
"""Candidates: queries int32[n], items int32[n], scores float32[n, S], ranks float32[n, S], scales float32[q, S], and
the blend float32[n]."""


@kernel
def retrieved(
    history: History,
    asked: Asked,
    sources: Sources,
    vectors: Vectors,
    proposed: Int32s,
    own: Float32s,
    merging: Merging,
    space: Space,
) -> Found:
    """The candidates of each query, ordered by query, then item.

    Args:
        history: of the queries.
        asked: the queries.
        sources: some of the sources.
        vectors: of the queries; those of the spectral source, if it is among the sources, are made.
        proposed: int32[q, K], what the other sources propose, best first, -1 after the last; the rest is filled.
        own: float32[q, K], the scores of these.
        merging: how they become candidates.
        space: of this thread.
    """
    rows, width, columns = len(asked.now), proposed.shape[1], len(merging.starts) - 1
    most = _most(merging, width) * rows
    query, item, blend = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.float32)
    score, rank = np.empty((most, columns), np.float32), np.empty((most, columns), np.float32)
    scale, used, stop = np.empty((rows, columns), np.float32), 0, 0
    weight = weights_of(history, asked.now, sources)
    vectors = (vectors[0], _spectral(history, asked.now, sources.spectral, vectors[1]), vectors[2], vectors[3])
    _search(sources, vectors, asked, merging, space.slots, proposed, own)
    work = working(sources, width, columns, len(history.item))
    for row in range(rows):
        look_back(history, slice(history.indptr[row], history.indptr[row + 1]), weight, sources, space, work)
        start, offset = stop, row * len(space.slots)
        while stop < len(asked.excluded) and asked.excluded[stop] < offset + len(space.slots):
            stop += 1
        mark(space.slots, asked.excluded[start:stop], offset, NONE)
        _propose(sources, merging, asked.allowed, space, work, proposed[row], own[row])
        mark(space.slots, asked.excluded[start:stop], offset, 0)
        count = union(proposed[row], work.chosen, work.spare, space.slots)
        for source in range(columns):
            part = _part(merging, source)
            _fill_ranks(work.rank[source, :count], proposed[row, part], space.slots)
            scale[row, source] = scale_of(proposed[row, part], own[row, part], merging.depth, merging.share)
        work.score[:, :count] = 0
        _multiply(row, work.chosen[:count], sources.said, vectors, space.slots, work, proposed[row], own[row], merging)
        _score(work.chosen[:count], sources, space, work)
        mode = LIVE if asked.user[row] < 0 else int(asked.discovery[row])
        _blend(work.score, scale[row], merging.weights[mode], work.blend[:count])
        _keep(work.blend[:count], work.rank, merging, work.kept[:count])
        for place in range(count):
            if work.kept[place]:
                query[used], item[used], blend[used] = row, work.chosen[place], work.blend[place]
                for source in range(columns):
                    score[used, source], rank[used, source] = work.score[source, place], work.rank[source, place]
                used += 1
    return query[:used], item[:used], score[:used], rank[:used], scale, blend[:used]


@kernel
def _propose(
    sources: Sources, merging: Merging, allowed: Bools, space: Space, work: Work, proposed: Int32s, own: Float32s
) -> None:
    """Fill one query's proposals int32[K] and their scores float32[K]; the slots of excluded items are not 0."""
    for number in range(len(sources.similar)):
        if sources.similar[number].column != NONE:
            part, met = _part(merging, sources.similar[number].column), space.met[number, : work.met[number]]
            best_sums(met, space.sums[number], space.slots, allowed, proposed[part], own[part])
    for number in range(len(sources.visited)):
        if sources.visited[number].column != NONE:
            part, count = _part(merging, sources.visited[number].column), work.seen_count[number]
            seen, seen_weight = work.seen[number, :count], work.seen_weight[number, :count]
            best_seen(seen, seen_weight, space.slots, allowed, proposed[part], own[part])
    if sources.popular.column != NONE:
        part = _part(merging, sources.popular.column)
        most_popular(sources.popular, space.slots, proposed[part], own[part])


@kernel
def _multiply(
    row: int,
    chosen: Int32s,
    said: tuple[Product, ...],
    vectors: Vectors,
    slots: Int32s,
    work: Work,
    proposed: Int32s,
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
                    if proposed[at] >= 0:
                        work.score[one.column, slots[proposed[at]] - 1] = own[at]


@kernel
def _score(chosen: Int32s, sources: Sources, space: Space, work: Work) -> None:
    """What else is said of one query's candidates, int32[n]; their slots, which hold their places, become 0."""
    popular = sources.popular
    for number in range(len(sources.similar)):
        if sources.similar[number].column != NONE:
            score, met = work.score[sources.similar[number].column], space.met[number, : work.met[number]]
            _take_sums(space.sums[number], met, chosen, score)
    for number in range(len(sources.visited)):
        if sources.visited[number].column != NONE:
            seen, weight = work.seen[number, : work.seen_count[number]], work.seen_weight[number]
            _take_seen(seen, weight, space.slots, work.score[sources.visited[number].column])
    if popular.column != NONE:
        for place in range(len(chosen)):
            work.score[popular.column, place] = popular.popularity[chosen[place]]
    for item in chosen:
        space.slots[item] = 0


@kernel
def _spectral(history: History, now: Int64s, source: Spectral, otherwise: Float32s) -> Float32s:
    """The vectors of the spectral source, if it is there."""
    if source.column == NONE:
        return otherwise
    events = (history.indptr, history.item, history.event_type, history.time, now)
    return weighted_rows(*events, source.weights, source.half_life_days, source.share, source.factors)


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
            blocks = (source.codes, source.items, source.unit, source.length, source.factors)
            start, stop = merging.starts[source.column], merging.starts[source.column + 1]
            may = (asked.excluded, asked.allowed, slots)
            item, score, _ = best(*blocks, vectors[source.vectors], stop - start, *may)
            for row in range(len(item)):
                for place in range(start, stop):
                    proposed[row, place], own[row, place] = item[row, place - start], score[row, place - start]


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
def union(proposed: Int32s, members: Int32s, spare: Int32s, slots: Int32s) -> int:
    """Write down the different items of int32[K], rising, and in their slots their 1-based places; returns how many."""
    count = 0
    for one in proposed:
        if one >= 0 and slots[one] == 0:
            slots[one] = 1
            members[count] = one
            count += 1
    sort(members[:count], spare[:count], len(slots))
    for place in range(count):
        slots[members[place]] = place + 1
    return count


@kernel
def _fill_ranks(ranks: Float32s, proposed: Int32s, slots: Int32s) -> None:
    """The 1-based place of each candidate, float32[n], in what one source proposes; NaN where it is not there."""
    ranks[:] = np.nan
    for place in range(len(proposed)):
        if proposed[place] >= 0:
            ranks[slots[proposed[place]] - 1] = place + 1


@kernel
def _fill_products(said: Product, vectors: Float32s, item: Int32s, rank: Float32s, work: Work, score: Float32s) -> None:
    """The inner products of one query's candidates that are known, but for those that a search has found."""
    places, items, found, used = work.spare, work.items, work.blend, 0
    for place in range(len(item)):
        if (len(said.known) == 0 or said.known[item[place]]) and not (said.searched and np.isfinite(rank[place])):
            places[used], items[used] = place, item[place]
            used += 1
    products(work.query[:used], items[:used], vectors, said.factors, found[:used])
    for at in range(used):
        score[places[at]] = found[at]


@kernel
def _take_sums(sums: Float32s, met: Int32s, item: Int32s, score: Float32s) -> None:
    """The sums of some items, after which all are 0 again."""
    for place in range(len(item)):
        score[place] = sums[item[place]] if sums[item[place]] != NOTHING else 0
    for one in met:
        sums[one] = 0


@kernel
def _take_seen(seen: Int32s, weight: Float32s, slots: Int32s, score: Float32s) -> None:
    """What a user's own items weigh, of those that are candidates: their slots hold the 1-based places of these."""
    for at in range(len(seen)):
        if slots[seen[at]]:
            score[slots[seen[at]] - 1] = weight[at]


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
