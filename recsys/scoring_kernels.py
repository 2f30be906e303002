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
def coded(values: Float32s, feature: int, width: int, coding: Coding) -> Array:
    """uint8[n, width]: the codes of some rows, row by row; the last columns are empty.

    Args:
        values: float32[n, f].
        feature: the first in values.
        width: c or more.
        coding: of the c columns.
    """
    n, features = values.shape
    columns = len(coding[0])
    rows, codes = in_lines(n * width).reshape(n, width), block_of(coding[0])
    for start in range(0, n, BLOCK):
        count = min(BLOCK, n - start)
        fill_codes(codes, values[start : start + count].ravel(), (feature, 1, features, count), coding)
        for row in range(count):
            for column in range(columns):
                rows[start + row, column] = codes[column * BLOCK + row]
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
    columns, starts, thresholds, bars = coding
    n, pairs = said.shape[1], len(said)
    rows = min(BLOCK, n - begin)
    users = pairs + OF_PAIR
    own = (columns[: parts[1]], starts, thresholds, bars)
    fill_codes(codes, said.ravel()[begin:], (0, n, 1, rows), own)
    own = (columns[parts[2] : parts[3]], starts, thresholds, bars)
    fill_codes(codes[parts[2] * BLOCK :], user, (users, 1, OF_USER, 1), own)
    own = (columns[parts[3] : parts[4]], starts, thresholds, bars)
    fill_codes(codes[parts[3] * BLOCK :], matched.ravel()[begin:], (users + OF_USER, n, 1, rows), own)
    for column in range(parts[1], parts[2]):
        _fill_column(codes, column, strangers[0, column - parts[1]])
    for column in range(parts[2], parts[3]):
        _fill_column(codes, column, codes[column * BLOCK])


@kernel
def _fill_column(codes: Array, column: int, code: int) -> None:
    """One code for all rows of a column."""
    first = np.uint64(column * BLOCK)
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
    columns, starts, thresholds, bars = coding
    width = parts[2] - parts[1]
    rows = coded(pairs, feature, width, (columns[parts[1] : parts[2]], starts, thresholds, bars))
    for at in range(len(place)):
        for column in range(width):
            codes[(parts[1] + column) * BLOCK + place[at]] = rows[at, column]


@kernel
def _fill_items(codes: Array, items: Array, item_num: Int32s, parts: Int64s, columns: Array) -> None:
    """The codes of some items: what stands row by row in a table, column by column.

    Args:
        codes: uint8[c * BLOCK].
        items: uint8[n_items, width or more].
        item_num: int32[n], at most BLOCK.
        parts: of the scorer.
        columns: COLUMN[c].
    """
    own, width = codes[parts[4] * BLOCK :], len(columns) - parts[4]
    for row in range(len(item_num)):
        known = items[item_num[row]]
        for column in range(width):
            own[column * BLOCK + row] = known[column]
