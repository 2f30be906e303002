"""Compiled loops over the scores of a batch's queries, which stand in rows: row r is ``indptr[r]:indptr[r + 1]``.

``slots`` is int32[n_items], all 0: what a row needs to know of its items while it is worked on; every kernel leaves it
as it found it (:func:`recsys.fetching.slots`). Item numbers are not checked against its length.
"""

from __future__ import annotations

import numpy as np

from recsys.half_kernels import half
from recsys.history_kernels import decayed
from recsys.kernel import brief_kernel, inner_kernel, kernel
from recsys.memory_kernels import ask_for
from recsys.product_kernels import products
from recsys.types import Array, Bools, Float32s, Float64s, Int8s, Int32s, Int64s, UInt16s


@kernel
def grown(values: Array, size: int) -> Array:
    """A larger array of the same beginning; a loop, as to assign a slice takes seconds to compile."""
    grown = np.empty(size, dtype=values.dtype)
    for place in range(len(values)):
        grown[place] = values[place]
    return grown


@inner_kernel
def once(item: Int32s, weight: Float32s, slots: Int32s, own: Int32s, own_weight: Float32s) -> int:
    """Each item of a history once, where it comes first, with the sum of its weights; how many these are.

    What is looked at is put in a cart and bought: a third of the entries are of an item that is there already.

    Args:
        item: int32[e].
        weight: float32[e].
        slots: int32[n_items], zeros.
        own: int32[e or more], which is written.
        own_weight: float32[e or more], which is written.
    """
    used = 0
    for at in range(len(item)):
        slot = slots[item[at]]
        if slot:
            own_weight[slot - 1] += weight[at]
        else:
            own[used], own_weight[used] = item[at], weight[at]
            used += 1
            slots[item[at]] = used
    for place in range(used):
        slots[own[place]] = 0
    return used


@kernel
def similar_items(
    indptr: Int64s, item: Int32s, weight: Float32s, starts: Int64s, neighbours: Int32s, alike: Float32s, slots: Int32s
) -> tuple[Int64s, Int32s, Float32s]:
    """The weighted sum of the neighbours of each row's items: the product of two sparse matrices.

    Args:
        indptr: int64[r + 1], of the rows.
        item: int32[m].
        weight: float32[m].
        starts: int64[n_items + 1], of the items' neighbours.
        neighbours: int32[l].
        alike: float32[l], how alike they are.
        slots: int32[n_items], zeros.

    Returns:
        indptr int64[r + 1] of the sums, their items int32[t], in no order, and the sums float32[t].
    """
    found_indptr = np.zeros_like(indptr)
    found = np.empty(1024, dtype=np.int32)
    summed = np.empty(1024, dtype=np.float32)
    own, own_weight = np.empty(len(item), dtype=np.int32), np.empty(len(item), dtype=np.float32)
    used = 0
    for row in range(len(indptr) - 1):
        entries, most = slice(indptr[row], indptr[row + 1]), 0
        count = once(item[entries], weight[entries], slots, own, own_weight)
        for place in range(count):
            most += starts[own[place] + 1] - starts[own[place]]
        most = min(most, len(slots))
        if used + most > len(found):
            found, summed = grown(found, 2 * (used + most)), grown(summed, 2 * (used + most))
        for place in range(count):
            start, stop = starts[own[place]], starts[own[place] + 1]
            ask_for(neighbours, start, stop)
            ask_for(alike, start, stop)
        begin = used
        for place in range(count):
            for at in range(starts[own[place]], starts[own[place] + 1]):
                neighbour = neighbours[at]
                slot = slots[neighbour]
                if slot:
                    summed[begin + slot - 1] += own_weight[place] * alike[at]
                else:
                    found[used], summed[used] = neighbour, own_weight[place] * alike[at]
                    used += 1
                    slots[neighbour] = used - begin
        for place in range(begin, used):
            slots[found[place]] = 0
        found_indptr[row + 1] = used
    return found_indptr, found[:used].copy(), summed[:used].copy()


@kernel
def visited_items(
    indptr: Int64s, item: Int32s, session: Int32s, weight: Float32s, slots: Int32s
) -> tuple[Int64s, Int32s, Float32s]:
    """For each row and item the sum of the weights of its visits; of a visit's entries the first, the newest, counts.

    Args:
        indptr: int64[r + 1].
        item: int32[m].
        session: int32[m]; equal inside a row means the same visit.
        weight: float32[m]; entries that weigh less than 0 do not count.
        slots: int32[n_items], zeros.

    Returns:
        As :func:`similar_items`.
    """
    found_indptr = np.zeros_like(indptr)
    found, summed = np.empty(len(item), dtype=np.int32), np.empty(len(item), dtype=np.float32)
    links, used = np.empty((2, len(item)), dtype=np.int64), 0
    for row in range(len(indptr) - 1):
        own = slice(indptr[row], indptr[row + 1])
        used += visited_row(item[own], session[own], weight[own], slots, found[used:], summed[used:], links)
        found_indptr[row + 1] = used
    return found_indptr, found[:used].copy(), summed[:used].copy()


@inner_kernel
def visited_row(
    item: Int32s, session: Int32s, weight: Float32s, slots: Int32s, found: Int32s, summed: Float32s, links: Int64s
) -> int:
    """As :func:`visited_items`, of one row (of e entries): writes the items and their sums, and returns how many.

    Args:
        item: int32[e].
        session: int32[e].
        weight: float32[e].
        slots: int32[n_items], zeros.
        found: int32[e or more], which is written; so are the next two.
        summed: float32[e or more].
        links: int64[2, e or more]: of a found item its last entry that counts, and of each of those the one before.
    """
    newest, before = links
    used = 0
    for place in range(len(item)):
        if weight[place] < 0:
            continue
        slot = slots[item[place]]
        earlier = newest[slot - 1] if slot else -1
        while earlier >= 0 and session[earlier] != session[place]:
            earlier = before[earlier]
        if earlier >= 0:
            continue
        if slot:
            before[place] = newest[slot - 1]
            summed[slot - 1] += weight[place]
        else:
            before[place] = -1
            found[used], summed[used] = item[place], weight[place]
            used += 1
            slot = used
            slots[item[place]] = slot
        newest[slot - 1] = place
    for place in range(used):
        slots[found[place]] = 0
    return used


@brief_kernel
def fill_scores(
    indptr: Int64s,
    items: Int32s,
    scores: Float32s,
    slots: Int32s,
    query: Int32s,
    item: Int32s,
    score: Float32s,
    column: int,
) -> None:
    """The scores of some pairs, 0 where a row does not have the item.

    Args:
        indptr: int64[r + 1].
        items: int32[m], each once in a row.
        scores: float32[m].
        slots: int32[n_items], zeros.
        query: int32[n], the row of each pair, rising.
        item: int32[n].
        score: float32[n, S]; one column is written.
        column: which.
    """
    stop = 0
    while stop < len(query):
        start, row = stop, query[stop]
        while stop < len(query) and query[stop] == row:
            score[stop, column] = 0
            stop += 1
            slots[item[stop - 1]] = stop
        for place in range(indptr[row], indptr[row + 1]):
            slot = slots[items[place]]
            if slot:
                score[slot - 1, column] = scores[place]
        for pair in range(start, stop):
            slots[item[pair]] = 0


@brief_kernel
def fill_shared(shared: Float32s, query: Int32s, item: Int32s, score: Float32s, column: int) -> None:
    """Scores that are the same for all: float32[n_items]; the other arguments as for :func:`fill_scores`."""
    for pair in range(len(query)):
        score[pair, column] = shared[item[pair]]


@kernel
def weighted_rows(
    indptr: Int64s,
    item: Int32s,
    event_type: Int8s,
    time: Int64s,
    now: Int64s,
    weights: Float64s,
    half_life_days: float,
    share: Float32s,
    bits: UInt16s,
) -> Float32s:
    """float32[r, d]: the weighted sum of the factors of each history's items.

    Args:
        indptr: int64[r + 1].
        item: int32[m].
        event_type: int8[m]; this and the next as for :func:`recsys.history_kernels.decayed`.
        time: int64[m].
        now: int64[r].
        weights: float64[10].
        half_life_days: of a weight.
        share: float32[n_items], by which the weight of an item's entries is multiplied.
        bits: uint16[n_items, d], of the factors in half precision.
    """
    weight = decayed(indptr, event_type, time, now, weights, half_life_days)
    summed = np.zeros((len(indptr) - 1, bits.shape[1]), dtype=np.float32)
    for row in range(len(indptr) - 1):
        total = summed[row]
        for place in range(indptr[row], indptr[row + 1]):
            own, factors = np.float32(weight[place] * share[item[place]]), bits[item[place]]
            for column in range(np.uint64(len(total))):
                total[column] += own * half(factors[column])
    return summed


@kernel
def fill_products(
    vectors: Float32s, factors: Float32s, known: Bools, query: Int32s, item: Int32s, score: Float32s, column: int
) -> None:
    """The inner products of a query's vector and an item's factors, for each pair; 0 for items that are not known.

    Args:
        vectors: float32[q, d].
        factors: float32[n_items, d].
        known: bool[n_items]; of length 0 where every item is.
        query: int32[n].
        item: int32[n].
        score: float32[n, S]; one column is written.
        column: which.
    """
    if len(known) == 0:
        products(query, item, vectors, factors, score[:, column])
        return
    places = np.empty(len(query), dtype=np.int64)
    queries, items, used = np.empty_like(query), np.empty_like(item), 0
    for pair in range(len(query)):
        score[pair, column] = 0
        if known[item[pair]]:
            places[used], queries[used], items[used] = pair, query[pair], item[pair]
            used += 1
    found = np.empty(used, dtype=np.float32)
    products(queries[:used], items[:used], vectors, factors, found)
    for at in range(used):
        score[places[at], column] = found[at]
