"""The proposals for one query as candidates: each item once, with its ranks, its scores and their blend, and cut."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recsys.kernel import inner_kernel, kernel
from recsys.merge_kernels import sort
from recsys.order_kernels import mark_leading
from recsys.product_kernels import products
from recsys.source_kernels import Product, Space, Work, number_of
from recsys.types import Bools, Float32s, Int32s, Int64s


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


@inner_kernel
def union(proposed: Int32s, work: Work, space: Space, met: int) -> tuple[int, int]:
    """Write down the different items of int32[K], rising, as candidates; how many these are, and how many are met."""
    places, numbers, before, chosen = space.places, space.numbers, np.int32(space.before[0]), work.chosen
    count, known = np.uint64(0), np.uint64(met)
    for at in range(np.uint64(len(proposed))):
        number = np.uint64(0)
        if proposed[at] >= 0:
            number, known = number_of(np.uint64(proposed[at]), numbers, before, space.met, known)
            chosen[count] = proposed[at]
            count += np.uint64(places[number] == 0)
            places[number] = 1
        work.proposed[at] = number
    sort(chosen[:count], work.spare[:count], len(numbers))
    for place in range(count):
        number = np.uint64(numbers[np.uint64(chosen[place])] - before)
        work.numbers[place], places[number] = number, place + np.uint64(1)
    return np.int64(count), np.int64(known)  # type: ignore[return-value]


@inner_kernel
def fill_ranks(ranks: Float32s, proposed: Int32s, places: Int32s) -> None:
    """The 1-based place of each candidate, float32[n], in what one source proposes; NaN where it is not there.

    Args:
        ranks: float32[n], which is written.
        proposed: int32[k], numbers of items, best first; 0 for none.
        places: int32[m], by number, the 1-based place among the candidates.
    """
    for place in range(np.uint64(len(ranks))):
        ranks[place] = np.nan
    for place in range(np.uint64(len(proposed))):
        if proposed[place]:
            ranks[np.uint64(places[np.uint64(proposed[place])] - 1)] = place + np.uint64(1)


@inner_kernel
def fill_products(said: Product, vectors: Float32s, item: Int32s, rank: Float32s, work: Work, score: Float32s) -> None:
    """The inner products of one query's candidates that are known, but for those that a search has found."""
    if len(said.known) == 0 and not said.searched:
        products(work.query[: len(item)], item, vectors, said.bits, score[: len(item)])
        return
    places, items, found, used = work.spare, work.items, work.blend, np.uint64(0)
    for place in range(np.uint64(len(item))):
        places[used], items[used] = place, item[place]
        is_known = len(said.known) == 0 or said.known[np.uint64(item[place])]
        used += np.uint64(is_known & ~(said.searched & np.isfinite(rank[place])))
    products(work.query[:used], items[:used], vectors, said.bits, found[:used])
    for at in range(used):
        score[np.uint64(places[at])] = found[at]


@inner_kernel
def fill_blend(scores: Float32s, scale: Float32s, weights: Float32s, blended: Float32s) -> None:
    """The weighted sum of the scaled scores float32[S, n or more] of each candidate, float32[n]."""
    blended[:] = 0
    for source in range(len(scale)):
        own, unit, weight = scores[source], scale[source], weights[source]
        for place in range(len(blended)):
            blended[place] += own[place] / unit * weight


@kernel
def mark_kept(blended: Float32s, ranks: Float32s, merging: Merging, kept: Bools) -> None:
    """Mark the candidates of largest blend, and those of the sources of which all are kept."""
    mark_leading(blended, merging.limit if merging.limit > 0 else len(blended), kept)
    for source in range(len(merging.reserved)):
        if merging.reserved[source]:
            for place in range(len(kept)):
                kept[place] |= not np.isnan(ranks[source, place])


@kernel
def places_kept(work: Work, count: int) -> Int32s:
    """int32[m], rising: the places of those that are kept, of so many candidates."""
    found, places = np.uint64(0), work.spare
    for place in range(np.uint64(count)):
        places[found] = place
        found += np.uint64(work.kept[place])
    return places[:found]


@inner_kernel
def write_down(places: Int32s, work: Work, item: Int32s, blend: Float32s, score: Float32s, rank: Float32s) -> None:
    """Write down the candidates at m places: int32[m], float32[m], float32[m, S], float32[m, S]."""
    for at in range(np.uint64(len(places))):
        place = np.uint64(places[at])
        item[at], blend[at] = work.chosen[place], work.blend[place]
    for at in range(np.uint64(len(places))):
        place = np.uint64(places[at])
        for source in range(np.uint64(score.shape[1])):
            score[at, source], rank[at, source] = work.score[source, place], work.rank[source, place]


@kernel
def most_of(merging: Merging, width: int) -> int:
    """Candidates that a query may have."""
    if merging.limit == 0:
        return width
    most = merging.limit
    for source in range(len(merging.reserved)):
        if merging.reserved[source]:
            most += merging.starts[source + 1] - merging.starts[source]
    return min(most, width)


@kernel
def part_of(merging: Merging, source: int) -> slice:
    """Where a source's proposals stand."""
    return slice(merging.starts[source], merging.starts[source + 1])
