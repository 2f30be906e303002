"""The loops of stage 2: from candidates to scores by codes, without a matrix of features between them."""

from __future__ import annotations

import numpy as np

from recsys.feature_kernels import OF_PAIR, OF_USER, of_matches, of_pairs, of_sources, of_user
from recsys.forest_kernels import BLOCK, Coding, Walking, block_of, fill_codes, fill_scores, in_lines, results_of
from recsys.kernel import kernel
from recsys.memory_kernels import ask_for
from recsys.types import Array, Bools, Float32s, Int8s, Int32s, Int64s

Codes = tuple[Array, Array, Int64s]
"""What is known before a query: items, strangers and parts of :class:`recsys.scorer.Scorer`."""


@kernel
def coded(values: Float32s, feature: int, own: tuple[int, int], width: int, coding: Coding) -> Array:
    """uint8[n, width]: the codes of some rows, row by row; what is behind the columns is empty.

    Args:
        values: float32[n, f].
        feature: the first in values.
        own: the first of the columns, and the one behind the last.
        width: as many as the columns or more.
        coding: of all columns.
    """
    n, features = values.shape
    flat, rows, codes = values.ravel(), in_lines(n * width).reshape(n, width), block_of(coding[0])
    for start in range(0, n, BLOCK):
        count = min(BLOCK, n - start)
        fill_codes(codes, flat, start * features, (feature, 1, features, count), own, coding)
        for row in range(count):
            for column in range(own[0], own[1]):
                rows[start + row, column - own[0]] = codes[column * BLOCK + row]
    return rows


@kernel
def score(
    prepared: Codes,
    coding: Coding,
    walking: Walking,
    query_num: Int32s,
    item_num: Int32s,
    said: Float32s,
    rank: Float32s,
    scale: Float32s,
    blend: Float32s,
    discovery: Bools,
    now: Int64s,
    indptr: Int64s,
    touched: Int32s,
    event_type: Int8s,
    time: Int64s,
    log_price: Float32s,
    session_num: Int32s,
    stats: Float32s,
    until: int,
    kind_of: Int8s,
    counts: Bools,
    untouched: Float32s,
    half_life_days: float,
    interactions: int,
    compared: Int64s,
) -> Float32s:
    """float32[n]: the score of each candidate.

    What is of the item alone is a row of a table, what is of the user is coded once a query, and what is of both is
    known beforehand, but for the items in the user's history.

    Args:
        prepared: of the scorer.
        coding: of the forest.
        walking: of the forest.
        query_num: as for :func:`recsys.feature_kernels.matrix`, like all down to ``compared``.
        item_num: int32[n].
        said: float32[n, S].
        rank: float32[n, S].
        scale: float32[q, S].
        blend: float32[n].
        discovery: bool[q].
        now: int64[q].
        indptr: int64[q + 1].
        touched: int32[m].
        event_type: int8[m].
        time: int64[m].
        log_price: float32[m].
        session_num: int32[m].
        stats: float32[n_items, s].
        until: unix seconds.
        kind_of: int8[10].
        counts: bool[10].
        untouched: float32[OF_PAIR].
        half_life_days: of the decayed counts.
        interactions: a column of stats.
        compared: int64[4].
    """
    items, width, least, most = prepared[0], prepared[0].shape[1], compared.min(), compared.max() + 1
    scores = np.empty(len(item_num), dtype=np.float32)
    codes, results = block_of(coding[0]), results_of(walking)
    end = 0
    for query in range(len(now)):
        start = end
        while end < len(query_num) and query_num[end] == query:
            row, place = item_num[end] * width, item_num[end] * stats.shape[1]
            ask_for(items, row, row + width)
            ask_for(stats, place + least, place + most)
            end += 1
        rows, own = slice(start, end), slice(indptr[query], indptr[query + 1])
        item, events = item_num[rows], (touched[own], event_type[own], time[own], session_num[own])
        sources = of_sources(said[rows], scale[query], rank[rows], blend[rows], discovery[query])
        user = of_user(events, log_price[own], now[query], kind_of, counts, stats[:, interactions], until)
        matched = of_matches(item, user, stats, compared)
        places, pairs = of_pairs(item, events, now[query], kind_of, counts, untouched, half_life_days)
        features = (sources, user[:OF_USER].astype(np.float32), matched)
        at = 0
        for begin in range(0, len(item), BLOCK):
            block = slice(begin, min(begin + BLOCK, len(item)))
            _fill_columns(codes, features, begin, prepared, coding)
            _fill_items(codes, items, item[block], prepared[2], coding[0])
            since = at
            while at < len(places) and places[at] < block.stop:
                at += 1
            if at > since:
                _fill_touched(codes, pairs[since:at], places[since:at] - begin, len(sources), prepared[2], coding)
            fill_scores(scores[start + begin : start + block.stop], results, codes, walking)
    return scores


@kernel
def _fill_columns(
    codes: Array, features: tuple[Float32s, Float32s, Float32s], begin: int, prepared: Codes, coding: Coding
) -> None:
    """The codes of a block's rows, but for the columns of items and of what the user has touched.

    Args:
        codes: uint8[c * BLOCK].
        features: of a query: float32[3 S + 4, n] of the sources, float32[OF_USER] of the user, float32[OF_MATCH, n] of
            what is compared.
        begin: the first row.
        prepared: as for :func:`score`.
        coding: as for :func:`score`.
    """
    said, user, matched = features
    _, strangers, parts = prepared
    n, users = said.shape[1], len(said) + OF_PAIR
    rows = min(BLOCK, n - begin)
    fill_codes(codes, said.ravel(), begin, (0, n, 1, rows), (0, parts[1]), coding)
    fill_codes(codes, user, 0, (users, 1, OF_USER, 1), (parts[2], parts[3]), coding)
    fill_codes(codes, matched.ravel(), begin, (users + OF_USER, n, 1, rows), (parts[3], parts[4]), coding)
    for column in range(parts[1], parts[3]):
        first = np.uint64(column * BLOCK)
        code = strangers[0, column - parts[1]] if column < parts[2] else codes[first]
        for row in range(np.uint64(BLOCK)):
            codes[first + row] = code


@kernel
def _fill_touched(codes: Array, pairs: Float32s, place: Int64s, feature: int, parts: Int64s, coding: Coding) -> None:
    """The codes of user and item where the user has touched the item.

    Args:
        codes: uint8[c * BLOCK].
        pairs: float32[t, OF_PAIR].
        place: int64[t], the rows of the block.
        feature: the first of a pair.
        parts: of the scorer.
        coding: of the forest.
    """
    width = parts[2] - parts[1]
    rows = coded(pairs, feature, (parts[1], parts[2]), width, coding)
    for at in range(len(place)):
        for column in range(width):
            codes[(parts[1] + column) * BLOCK + place[at]] = rows[at, column]


@kernel
def _fill_items(codes: Array, items: Array, item_num: Int32s, parts: Int64s, columns: Array) -> None:
    """The codes of some items: what stands row by row in a table, column by column.

    Eight codes of eight items are turned at once, as eight numbers (Warren, Hacker's Delight, 7-3).

    Args:
        codes: uint8[(c + 8) * BLOCK].
        items: uint8[n_items, w], w a multiple of 8.
        item_num: int32[n], at most BLOCK.
        parts: of the scorer.
        columns: COLUMN[c].
    """
    own, table = codes[parts[4] * BLOCK :].view(np.uint64), items.view(np.uint64)
    num = np.zeros(BLOCK, dtype=np.int64)
    for row in range(len(item_num)):
        num[row] = item_num[row]
    for row in range(0, len(item_num), 8):
        for word in range(-(-(len(columns) - parts[4]) // 8)):
            a, b = table[num[row], word], table[num[row + 1], word]
            c, d = table[num[row + 2], word], table[num[row + 3], word]
            e, f = table[num[row + 4], word], table[num[row + 5], word]
            g, h = table[num[row + 6], word], table[num[row + 7], word]
            (a, e), (b, f), (c, g), (d, h) = _fours(a, e), _fours(b, f), _fours(c, g), _fours(d, h)
            (a, c), (b, d), (e, g), (f, h) = _twos(a, c), _twos(b, d), _twos(e, g), _twos(f, h)
            (a, b), (c, d), (e, f), (g, h) = _ones(a, b), _ones(c, d), _ones(e, f), _ones(g, h)
            for column, turned in enumerate((a, b, c, d, e, f, g, h)):
                own[((8 * word + column) * BLOCK + row) // 8] = turned


@kernel
def _swapped(first: np.uint64, second: np.uint64, size: int, mask: int) -> tuple[np.uint64, np.uint64]:
    """The upper bytes of each part of the first number and the lower ones of the second have changed places."""
    shift = np.uint64(8 * size)
    differ = ((first >> shift) ^ second) & np.uint64(mask)
    return first ^ (differ << shift), second ^ differ


@kernel
def _fours(first: np.uint64, second: np.uint64) -> tuple[np.uint64, np.uint64]:
    return _swapped(first, second, 4, 0x00000000FFFFFFFF)


@kernel
def _twos(first: np.uint64, second: np.uint64) -> tuple[np.uint64, np.uint64]:
    return _swapped(first, second, 2, 0x0000FFFF0000FFFF)


@kernel
def _ones(first: np.uint64, second: np.uint64) -> tuple[np.uint64, np.uint64]:
    return _swapped(first, second, 1, 0x00FF00FF00FF00FF)
