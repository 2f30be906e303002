"""Compiled loops over the candidates of a batch, of which the best become slates."""

from __future__ import annotations

import numpy as np

from recsys import order_kernels
from recsys.kernel import kernel
from recsys.types import Bools, Float32s, Float64s, Int32s, Int64s

ROUNDING = 1e-6


@kernel
def best(
    query_num: Int32s,
    margin: Float32s,
    rank: Float32s,
    sizes: Int64s,
    sources: Int64s,
    shares: Float64s,
    discovery: Bools,
    numbers: Float64s,
) -> tuple[Int64s, Int64s, Float32s, Float32s]:
    """The best candidates of each query, best first; of equal ones the first comes first.

    As many of them are of one source as places are kept for it down to there.

    Args:
        query_num: int32[n], rising.
        margin: float32[n].
        rank: float32[n, S], NaN where a source did not propose a candidate.
        sizes: int64[q], candidates of each query; one that has not as many gets all.
        sources: int64[s], those for which places are kept, the first ones first.
        shares: float64[s, 2], of the places, for queries that allow purchased items and for those that do not.
        discovery: bool[q], whether purchased items are kept out.
        numbers: float64[q, m], as for :func:`drawn`, for queries whose kept places are drawn for; NaN for the others.

    Returns:
        Starts int64[q + 1] of the queries' parts; positions int64[t] among the candidates, scores float32[t],
        which do not rise, and the probability with which each was drawn, float32[t], 0 where it was not.
    """
    starts, position = np.zeros(len(sizes) + 1, dtype=np.int64), np.empty(np.sum(sizes), dtype=np.int64)
    draw, end = np.zeros(len(position), dtype=np.float32), 0
    for query in range(len(sizes)):
        begin = end
        while end < len(query_num) and query_num[end] == query:
            end += 1
        first, size = starts[query], min(sizes[query], end - begin)
        starts[query + 1] = first + size
        if size:
            own = slice(first, first + size)
            position[own] = begin + order_kernels.foremost(margin[begin:end], size)
            for slot in range(len(sources)):
                kept = places(sizes[query], shares[slot, int(discovery[query])])
                _lift(position[own], draw[own], begin, kept, rank[begin:end, sources[slot]], numbers[query])
    position, draw = position[: starts[-1]], draw[: starts[-1]]
    return starts, position, _falling(margin[position], starts), draw


@kernel
def places(size: int, share: float) -> Int64s:
    """int64[p]: the places of a slate, from 0 and rising, of which one source has a share (0 to 1).

    The n-th is n / share, rounded up, so that a shorter slate begins a longer one.
    """
    found = np.empty(int(size * share + ROUNDING), dtype=np.int64)
    for number in range(len(found)):
        found[number] = np.int64(np.ceil((number + 1) / share - ROUNDING)) - 1
    return found


@kernel
def ranked(rank: Float32s) -> Int64s:
    """int64[p]: the candidates of one query that a source proposed, in its order.

    Args:
        rank: float32[n], from 1, none twice, NaN for what the source did not propose.
    """
    proposed = np.flatnonzero(np.isfinite(rank))
    return proposed[np.argsort(rank[proposed])]


@kernel
def drawn(rank: Float32s, numbers: Float64s) -> Int64s:
    """As :func:`ranked`, but drawn without replacement, each with a probability proportional to 1 / rank.

    That is the order of exponential times at these rates (Efraimidis and Spirakis, 2006).

    Args:
        rank: float32[n].
        numbers: float64[p] or more, of an exponential distribution.
    """
    order = ranked(rank)
    return order[np.argsort(numbers[: len(order)] * rank[order])]


@kernel
def _falling(score: Float32s, starts: Int64s) -> Float32s:
    """The scores of slates, each as large as the largest behind it: what was moved up counts as much as that."""
    for query in range(len(starts) - 1):
        for at in range(starts[query + 1] - 2, starts[query] - 1, -1):
            score[at] = max(score[at], score[at + 1])
    return score


@kernel
def _lift(position: Int64s, draw: Float32s, begin: int, kept: Int64s, rank: Float32s, numbers: Float64s) -> None:
    """Move candidates of one source up to where too few of them stand.

    Args:
        position: int64[k], of the best candidates of a query, best first; they change.
        draw: float32[k], the probability with which each was drawn.
        begin: position of the query's first candidate.
        kept: int64[p], the source's places.
        rank: float32[n], of the query's candidates.
        numbers: float64[m], by which it is drawn what gets the places; NaN or none: what the source ranks first does.
    """
    if len(kept) == 0:
        return
    is_drawn = np.isfinite(numbers[:1]).any()
    order = drawn(rank, numbers) if is_drawn else ranked(rank)
    is_above = np.zeros(len(rank), dtype=np.bool_)
    above, inside = 0, 0
    for number in range(len(kept)):
        at = kept[number]
        while above < min(at, len(position)):
            is_above[position[above] - begin] = True
            inside += np.isfinite(rank[position[above] - begin])
            above += 1
        if at >= len(position) or inside + np.isfinite(rank[position[at] - begin]) > number:
            continue
        chosen, rest = -1, 0.0
        for each in order:
            if not is_above[each]:
                chosen = each if chosen < 0 else chosen
                rest += np.float64(np.float32(1) / rank[each])
        if chosen < 0:
            return
        last = at
        while last < len(position) - 1 and position[last] != begin + chosen:
            last += 1
        for place in range(last, at, -1):
            position[place], draw[place] = position[place - 1], draw[place - 1]
        position[at] = begin + chosen
        draw[at] = np.float64(np.float32(1) / rank[chosen]) / rest if is_drawn else 0.0


@kernel
def proposers(rank: Float32s, position: Int64s) -> Int64s:
    """int64[k]: of the candidates at some positions a bit for each source that proposed it; -1 for position -1.

    Args:
        rank: float32[n, S], NaN where a source did not propose a candidate.
        position: int64[k].
    """
    bits = np.full(len(position), -1, dtype=np.int64)
    for place in range(len(position)):
        if position[place] >= 0:
            bits[place] = 0
            for source in range(rank.shape[1]):
                bits[place] |= np.int64(np.isfinite(rank[position[place], source])) << source
    return bits
