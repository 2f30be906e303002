"""The loops of the feature matrix.

Compiled code is kept until this file changes, whatever happens to others, so that kernels are told all else that they
must know.
"""

from __future__ import annotations

import numpy as np

from recsys.kernel import kernel
from recsys.types import Bools, Float32s, Float64s, Int8s, Int32s, Int64s

DAY = 86_400
KINDS = 3
OF_KIND = 3
OF_PAIR = OF_KIND * KINDS + 4
OF_USER = KINDS + 7


@kernel
def fill_sources(
    values: Float32s,
    query_num: Int32s,
    score: Float32s,
    scale: Float32s,
    rank: Float32s,
    blend: Float32s,
    blend_rank: Int64s,
    discovery: Bools,
) -> None:
    """What each source says, how many agree, and where stage 1 puts the item.

    Args:
        values: float32[n, f], the matrix; the first 3 S + 4 columns are written.
        query_num: int32[n].
        score: float32[n, S].
        scale: float32[q, S], never 0.
        rank: float32[n, S], NaN where the source did not propose the item.
        blend: float32[n].
        blend_rank: int64[n].
        discovery: bool[q].
    """
    sources = score.shape[1]
    for at in range(len(query_num)):
        row, query, agree = values[at], query_num[at], 0
        for source in range(sources):
            row[3 * source] = score[at, source]
            row[3 * source + 1] = score[at, source] / scale[query, source]
            row[3 * source + 2] = rank[at, source]
            agree += np.isfinite(rank[at, source])
        row[3 * sources] = agree
        row[3 * sources + 1] = blend[at]
        row[3 * sources + 2] = blend_rank[at]
        row[3 * sources + 3] = discovery[query]


@kernel
def fill_pairs(
    values: Float32s,
    column: int,
    query_num: Int32s,
    item_num: Int32s,
    indptr: Int64s,
    touched: Int32s,
    event_type: Int8s,
    time: Int64s,
    session_num: Int32s,
    now: Int64s,
    kind_of: Int8s,
    counts: Bools,
    half_life_days: float,
) -> None:
    """What the query's user did with the item: how often, how lately, and at which interval.

    Args:
        values: float32[n, f], the matrix; OF_PAIR columns, which say that nothing was done, are written over.
        column: the first of them.
        query_num: int32[n], rising.
        item_num: int32[n], rising inside a query.
        indptr: int64[q + 1], of the histories' rows.
        touched: int32[m], the histories' items.
        event_type: int8[m].
        time: int64[m], unix seconds.
        session_num: int32[m].
        now: int64[q], unix seconds.
        kind_of: int8[10], the kind of each event type; -1: none.
        counts: bool[10], the event types that visits are made of.
        half_life_days: of the decayed counts.
    """
    pair, end = np.empty(OF_PAIR), 0
    for query in range(len(now)):
        at = end
        while end < len(query_num) and query_num[end] == query:
            end += 1
        first, last = indptr[query], indptr[query + 1]
        # By item, then visit; a sum, as a new visit's number is negative.
        order = first + np.argsort((touched[first:last].astype(np.int64) << 32) + session_num[first:last])
        start = 0
        while start < len(order):
            item, stop = touched[order[start]], start + 1
            while stop < len(order) and touched[order[stop]] == item:
                stop += 1
            while at < end and item_num[at] < item:
                at += 1
            if at < end and item_num[at] == item:
                row, own = values[at, column : column + OF_PAIR], order[start:stop]
                for place in range(OF_PAIR):
                    pair[place] = row[place]
                age = (now[query] - time[own]) / DAY
                _pair(pair, age, event_type[own], session_num[own], kind_of, counts, half_life_days)
                for place in range(OF_PAIR):
                    row[place] = pair[place]
            start = stop


@kernel
def _pair(
    pair: Float64s,
    age: Float64s,
    event_type: Int8s,
    session_num: Int32s,
    kind_of: Int8s,
    counts: Bools,
    half_life_days: float,
) -> None:
    """Of each kind of event the log count, the decayed count and the days since the last; then the cycle.

    A cycle is the log count of visits, the days since the first, the mean days between two, and the days since the last
    over that mean.

    Args:
        pair: float64[OF_PAIR], as of no event.
        age: float64[e], in days, of the events, which stand visit by visit.
        event_type: int8[e].
        session_num: int32[e].
        kind_of: int8[10], as in fill_pairs.
        counts: bool[10], as in fill_pairs.
        half_life_days: of the decayed counts.
    """
    visits, visit, first, last = 0, 0, np.nan, np.nan
    for at in range(len(age)):
        kind = kind_of[event_type[at]]
        if kind >= 0:
            own = pair[OF_KIND * kind : OF_KIND * (kind + 1)]
            own[0] += 1
            own[1] += np.exp2(max(age[at], 0.0) / -half_life_days)
            own[2] = np.fmin(own[2], age[at])
        if counts[event_type[at]]:
            visits += visits == 0 or session_num[at] != visit
            visit, first, last = session_num[at], np.fmax(first, age[at]), np.fmin(last, age[at])
    for kind in range(KINDS):
        pair[OF_KIND * kind] = np.log1p(pair[OF_KIND * kind])
    cycle = pair[OF_KIND * KINDS :]
    cycle[0], cycle[1] = np.log1p(visits), first
    if visits > 1:
        cycle[2] = (first - last) / (visits - 1)
        if cycle[2] > 0:
            cycle[3] = last / cycle[2]


@kernel
def user_rows(
    indptr: Int64s,
    item_num: Int32s,
    event_type: Int8s,
    time: Int64s,
    log_price: Float32s,
    session_num: Int32s,
    now: Int64s,
    kind_of: Int8s,
    counts: Bools,
    stats: Float32s,
    interactions: int,
    until: int,
) -> Float64s:
    """float64[q, OF_USER + 2]: what kind of user asks, and the days from its last and its first event to a time.

    Args:
        indptr: int64[q + 1], of the histories' rows, each newest first.
        item_num: int32[m].
        event_type: int8[m].
        time: int64[m], unix seconds.
        log_price: float32[m], not finite where unknown.
        session_num: int32[m].
        now: int64[q], unix seconds.
        kind_of: int8[10], the kind of each event type; -1: none.
        counts: bool[10], the event types that visits are made of.
        stats: float32[n_items, s].
        interactions: the column of stats that says how popular an item is.
        until: that time, unix seconds.
    """
    rows = np.full((len(now), OF_USER + 2), np.nan)
    for query in range(len(now)):
        own = slice(indptr[query], indptr[query + 1])
        items, kinds, counted = item_num[own], kind_of[event_type[own]], counts[event_type[own]]
        row = rows[query]
        for kind in range(KINDS):
            row[kind] = np.log1p(np.count_nonzero(kinds == kind))
        row[KINDS] = np.log1p(_distinct(items.astype(np.int64)))
        _visits(row[KINDS + 1 :], now[query], items[counted], time[own][counted], session_num[own][counted])
        row[KINDS + 5] = _mean(stats[:, interactions][items])
        row[KINDS + 6] = _mean(log_price[own][np.isfinite(log_price[own])])
        if len(items):
            row[OF_USER], row[OF_USER + 1] = (until - time[own][0]) / DAY, (until - time[own][-1]) / DAY
    return rows


@kernel
def _visits(row: Float64s, now: int, item_num: Int32s, time: Int64s, session_num: Int32s) -> None:
    """Log count of visits, days since the last, mean days between two, and the share of lines that are repeats.

    Args:
        row: float64[4 or more], NaN.
        now: unix seconds.
        item_num: int32[e], newest first, as all below.
        time: int64[e], unix seconds.
        session_num: int32[e].
    """
    visits = _distinct(session_num.astype(np.int64))
    row[0] = np.log1p(visits)
    if visits > 0:
        lines = _distinct((item_num.astype(np.int64) << 32) + session_num)
        row[1], row[3] = (now - time[0]) / DAY, 1 - _distinct(item_num.astype(np.int64)) / lines
    if visits > 1:
        row[2] = (time[0] - time[-1]) / DAY / (visits - 1)


@kernel
def _mean(values: Float32s) -> float:
    """The mean of float32[n] as float64; NaN where there are none."""
    total = 0.0
    for value in values:
        total += value
    return total / len(values) if len(values) else np.nan


@kernel
def _distinct(values: Int64s) -> int:
    """How many different values there are among int64[n]."""
    ordered = np.sort(values)
    return int(np.count_nonzero(ordered[1:] != ordered[:-1])) + (len(ordered) > 0)


@kernel
def fill_users(
    values: Float32s,
    column: int,
    query_num: Int32s,
    item_num: Int32s,
    users: Float64s,
    stats: Float32s,
    compared: Int64s,
) -> None:
    """What kind of user asks, and how the item's price, popularity and lifetime compare with the user's.

    Args:
        values: float32[n, f], the matrix; OF_USER + 5 columns are written.
        column: the first of them.
        query_num: int32[n].
        item_num: int32[n].
        users: float64[q, OF_USER + 2], of user_rows, up to the end of the statistics.
        stats: float32[n_items, s].
        compared: int64[4], the columns of stats for price, interactions, days since the last one and since the first.
    """
    price, interactions, idle, age = compared
    for at in range(len(query_num)):
        row, user, item = values[at, column:], users[query_num[at]], stats[item_num[at]]
        for place in range(OF_USER):
            row[place] = user[place]
        row[OF_USER] = item[price] - user[OF_USER - 1]
        row[OF_USER + 1] = item[interactions] - user[OF_USER - 2]
        # Who was last here before an item came, or after it was gone, did not see it.
        row[OF_USER + 2] = item[idle] - user[OF_USER]
        row[OF_USER + 3] = item[age] - user[OF_USER]
        row[OF_USER + 4] = item[age] - user[OF_USER + 1]


@kernel
def fill_items(values: Float32s, column: int, item_num: Int32s, stats: Float32s) -> None:
    """What everybody does with the item.

    Args:
        values: float32[n, f], the matrix; s columns are written.
        column: the first of them.
        item_num: int32[n].
        stats: float32[n_items, s].
    """
    for at in range(len(item_num)):
        row, item = values[at, column:], stats[item_num[at]]
        for place in range(len(item)):
            row[place] = item[place]
