"""The loops of stage 2: from candidates to scores by codes, without a matrix of features between them."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from recsys.feature_kernels import (
    KNOWN,
    OF_MATCH,
    OF_PAIR,
    OF_USER,
    fill_matches,
    mean_of,
    of_pairs,
    of_sources,
    of_user,
)
from recsys.forest_kernels import BLOCK, STEP, Coding, Walking, block_of, fill_codes, fill_scores, in_lines, results_of
from recsys.kernel import kernel
from recsys.memory_kernels import LINE, ask_for
from recsys.turn_kernels import WORDS, columns_of
from recsys.types import Array, Bools, Float32s, Int8s, Int32s, Int64s

Codes = tuple[Array, Array, Int64s]
"""What is known before a query: items, strangers and parts of :class:`recsys.scorer.Scorer`."""
POPULARITY = 1
"""What is known of an item that is the mean popularity of the items of a user."""


def _turn(context: Any, codes: Any, turned: Any, items: Any, item_num: Any, numbers: Any) -> Any:  # noqa: ARG001 - as numba calls it
    """Write a line of each of up to 16 rows of a table word by word, and codes of some of the words column by column.

    Args:
        context: numba's.
        codes: uint8[...].
        turned: float32[WORDS * STEP], for the words.
        items: uint8[n_items, w], w a multiple of LINE.
        item_num: int32[n].
        numbers: of uint64: the first of the rows in item_num, the last of all (which is taken where there are not 16),
            w, the line's place in it, the words of codes, and the place of their first code.
    """

    def lines(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, word, number = ir.IntType(8), ir.IntType(32), ir.IntType(64)
        made, words, table, items = (
            context.make_array(signature.args[at])(context, builder, arguments[at]).data for at in range(4)
        )
        first, last, width, line, count, place = cgutils.unpack_tuple(builder, arguments[4])  # type: ignore[no-untyped-call]
        row_of, bytes_of = ir.VectorType(word, WORDS), ir.VectorType(byte, LINE)

        def at(array: Any, offset: Any, kind: Any) -> Any:
            return builder.bitcast(builder.gep(array, [offset]), kind.as_pointer())

        def row(number_of: int) -> Any:
            own = builder.add(first, number(number_of))
            own = builder.select(builder.icmp_unsigned("<", own, last), own, last)
            item = builder.sext(builder.load(builder.gep(items, [own])), number)
            return builder.load(at(table, builder.add(builder.mul(item, width), line), row_of), align=4)

        for part, own in enumerate(columns_of(builder, [row(at) for at in range(STEP)])):
            builder.store(own, at(words, number(part * STEP), row_of), align=4)
        by_code = [4 * row + code for code in range(4) for row in range(STEP)]
        with cgutils.for_range(builder, count) as loop:
            own = builder.load(at(words, builder.mul(loop.index, number(STEP)), bytes_of), align=4)
            mask = ir.Constant(ir.VectorType(word, LINE), by_code)
            own = builder.shuffle_vector(own, own, mask)
            begin = builder.add(place, builder.mul(loop.index, number(4 * BLOCK)))
            for code in range(4):
                mask = ir.Constant(ir.VectorType(word, STEP), list(range(STEP * code, STEP * (code + 1))))
                column = builder.shuffle_vector(own, own, mask)
                builder.store(column, at(made, builder.add(begin, number(code * BLOCK)), column.type), align=1)
        return context.get_dummy_value()

    own = types.UniTuple(types.uint64, 6)  # type: ignore[no-untyped-call]
    return types.none(codes, turned, items, item_num, own), lines


_turn_lines: Any = intrinsic(_turn)


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
    until: int,
    kind_of: Int8s,
    counts: Bools,
    untouched: Float32s,
    half_life_days: float,
) -> Float32s:
    """float32[n]: the score of each candidate.

    What is of the item alone is a row of a table, what is of the user is coded once a query, and what is of both is
    known beforehand, but for the items in the user's history.

    Args:
        prepared: of the scorer.
        coding: of the forest.
        walking: of the forest.
        query_num: as for :func:`recsys.feature_kernels.matrix`, like all down to ``half_life_days``.
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
        until: unix seconds.
        kind_of: int8[10].
        counts: bool[10].
        untouched: float32[OF_PAIR].
        half_life_days: of the decayed counts.
    """
    items, strangers, parts = prepared
    width, table = items.shape[1], items.view(np.float32)
    popular = table.shape[1] - KNOWN + POPULARITY
    scores = np.empty(len(item_num), dtype=np.float32)
    codes, spare, results = block_of(coding[0]), block_of(coding[0]), results_of(walking)
    known, matched = np.empty((KNOWN, BLOCK), dtype=np.float32), np.empty((OF_MATCH, BLOCK), dtype=np.float32)
    end = 0
    for query in range(len(now)):
        start = end
        for event in range(indptr[query], indptr[query + 1]):
            ask_for(items, touched[event] * width, (touched[event] + 1) * width)
        while end < len(query_num) and query_num[end] == query:
            ask_for(items, item_num[end] * width, (item_num[end] + 1) * width)
            end += 1
        rows, own = slice(start, end), slice(indptr[query], indptr[query + 1])
        item, events = item_num[rows], (touched[own], event_type[own], time[own], session_num[own])
        sources = of_sources(said[rows], scale[query], rank[rows], blend[rows], discovery[query])
        popularity = mean_of(table, events[0], popular)
        user = of_user(events, log_price[own], popularity, now[query], kind_of, counts, until)
        places, pairs = of_pairs(item, events, now[query], kind_of, counts, untouched, half_life_days)
        at, users = 0, len(sources) + OF_PAIR
        fill_codes(codes, user.astype(np.float32), 0, (users, 1, OF_USER, 1), (parts[2], parts[3]), coding)
        _repeat(codes, parts[2], parts[3])
        for begin in range(0, len(item), BLOCK):
            stop = min(begin + BLOCK, len(item))
            shape = (0, len(item), 1, stop - begin)
            fill_codes(codes, sources.ravel(), begin, shape, (0, parts[1]), coding)
            _fill_strangers(codes, strangers, parts)
            since = at
            while at < len(places) and places[at] < stop:
                at += 1
            if at > since:
                shape = (len(sources), pairs.shape[1], 1, max(at - since, STEP))  # as so many are coded at once
                fill_codes(spare, pairs.ravel(), since, shape, (parts[1], parts[2]), coding)
                _fill_touched(codes, spare, places[since:at], begin, parts)
            _fill_items(codes, known, items, item[begin:stop], parts, coding[0])
            fill_matches(matched, known, user, stop - begin)
            shape = (users + OF_USER, BLOCK, 1, stop - begin)
            fill_codes(codes, matched.ravel(), 0, shape, (parts[3], parts[4]), coding)
            fill_scores(scores[start + begin : start + stop], results, codes, walking)
    return scores


@kernel
def _repeat(codes: Array, first: int, last: int) -> None:
    """In each of some columns of a block (uint8[c * BLOCK]) the code of the first row for all."""
    for column in range(first, last):
        place = np.uint64(column * BLOCK)
        code = codes[place]
        for row in range(np.uint64(BLOCK)):
            codes[place + row] = code


@kernel
def _fill_strangers(codes: Array, strangers: Array, parts: Int64s) -> None:
    """The codes of user and item of a block's rows, as if the user had touched no item.

    Args:
        codes: uint8[c * BLOCK].
        strangers: uint8[1, w], of the scorer.
        parts: of the scorer.
    """
    for column in range(parts[1], parts[2]):
        place, code = np.uint64(column * BLOCK), strangers[0, column - parts[1]]
        for row in range(np.uint64(BLOCK)):
            codes[place + row] = code


@kernel
def _fill_touched(codes: Array, spare: Array, places: Int64s, begin: int, parts: Int64s) -> None:
    """The codes of user and item where the user has touched the item.

    Args:
        codes: uint8[c * BLOCK].
        spare: uint8[c * BLOCK], the codes of the touched items.
        places: int64[t], rows of the query.
        begin: the first row of the block.
        parts: of the scorer.
    """
    for column in range(parts[1], parts[2]):
        place = np.uint64(column * BLOCK)
        for at in range(np.uint64(len(places))):
            codes[place + np.uint64(places[at] - begin)] = spare[place + at]


@kernel
def _fill_items(codes: Array, known: Float32s, items: Array, item_num: Int32s, parts: Int64s, columns: Array) -> None:
    """What of some items stands row by row in a table, column by column: codes, and what is compared with the user.

    Args:
        codes: uint8[(c + 8) * BLOCK].
        known: float32[KNOWN, BLOCK].
        items: uint8[n_items, w], of the scorer.
        item_num: int32[n], at most BLOCK.
        parts: of the scorer.
        columns: COLUMN[c].
    """
    width, last, turned = np.uint64(items.shape[1]), np.uint64(len(item_num) - 1), np.empty(WORDS * STEP, np.float32)
    words, place = np.uint64(-(-(len(columns) - parts[4]) // 4)), np.uint64(parts[4] * BLOCK)
    for row in range(np.uint64(0), np.uint64(len(item_num)), np.uint64(STEP)):
        for line in range(np.uint64(0), width, np.uint64(LINE)):
            before = line // np.uint64(4)
            count = min(np.uint64(WORDS), words - min(before, words))
            numbers = (row, last, width, line, count, place + line * np.uint64(BLOCK) + row)
            _turn_lines(codes, turned, items, item_num, numbers)
        for column in range(np.uint64(KNOWN)):
            first = (np.uint64(WORDS - KNOWN) + column) * np.uint64(STEP)
            for at in range(np.uint64(STEP)):
                known[column, row + at] = turned[first + at]
