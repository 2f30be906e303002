"""The loops of the features: of one query those of its parts, column by column, and the matrix that is made of them."""

from __future__ import annotations

import numpy as np

from recsys import order_kernels
from recsys.kernel import kernel
from recsys.memory_kernels import ask_for
from recsys.types import Bools, Float32s, Float64s, Int8s, Int32s, Int64s

DAY = 86_400
KINDS = 3
OF_KIND = 3
OF_PAIR = OF_KIND * KINDS + 4
OF_USER = KINDS + 7
OF_MATCH = 5


Events = tuple[Int32s, Int8s, Int64s, Int32s]
"""Of one user, newest first: item, type, time (unix seconds) and session of each."""


@kernel
def matrix(
    query_num: Int32s,
    item_num: Int32s,
    score: Float32s,
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
    """The feature matrix.

    Args:
        query_num: int32[n], rising.
        item_num: int32[n], rising inside a query.
        score: float32[n, S].
        rank: float32[n, S], NaN where the source did not propose the item.
        scale: float32[q, S], never 0.
        blend: float32[n].
        discovery: bool[q].
        now: int64[q], unix seconds.
        indptr: int64[q + 1], of the histories' rows, each newest first.
        touched: int32[m], the histories' items.
        event_type: int8[m].
        time: int64[m], unix seconds.
        log_price: float32[m], not finite where unknown.
        session_num: int32[m].
        stats: float32[n_items, s].
        until: end of the statistics, unix seconds.
        kind_of: int8[10], the kind of each event type; -1: none.
        counts: bool[10], the event types that visits are made of.
        untouched: float32[OF_PAIR], of an item with which the user did nothing.
        half_life_days: of the decayed counts.
        interactions: the column of stats that says how popular an item is.
        compared: int64[4], the columns of stats for price, interactions, days since the last one and since the first.

    Returns:
        float32[n, f]: of the sources, of the pair of user and item, of the user, of both, of the item.
    """
    items = 3 * score.shape[1] + 4 + OF_PAIR + OF_USER + OF_MATCH
    values = np.empty((len(item_num), items + stats.shape[1]), dtype=np.float32)
    end = 0
    for query in range(len(now)):
        start = end
        while end < len(query_num) and query_num[end] == query:
            begin = item_num[end] * stats.shape[1]
            ask_for(stats, begin, begin + stats.shape[1])
            end += 1
        rows, own = slice(start, end), slice(indptr[query], indptr[query + 1])
        item, events = item_num[rows], (touched[own], event_type[own], time[own], session_num[own])
        said = of_sources(score[rows], scale[query], rank[rows], blend[rows], discovery[query])
        user = of_user(events, log_price[own], now[query], kind_of, counts, stats[:, interactions], until)
        places, pairs = of_pairs(item, events, now[query], kind_of, counts, untouched, half_life_days)
        _fill(values[rows], said, untouched, user, of_matches(item, user, stats, compared), stats, item)
        for at in range(len(places)):
            for column in range(OF_PAIR):
                values[start + places[at], len(said) + column] = pairs[at, column]
    return values


@kernel
def _fill(
    values: Float32s,
    said: Float32s,
    untouched: Float32s,
    user: Float64s,
    matched: Float32s,
    stats: Float32s,
    item_num: Int32s,
) -> None:
    """Rows of the parts of one query's features."""
    users = len(said) + OF_PAIR
    matches = users + OF_USER
    items = matches + OF_MATCH
    for at in range(len(values)):
        row, known = values[at], stats[item_num[at]]
        for column in range(len(said)):
            row[column] = said[column, at]
        for column in range(OF_PAIR):
            row[len(said) + column] = untouched[column]
        for column in range(OF_USER):
            row[users + column] = user[column]
        for column in range(OF_MATCH):
            row[matches + column] = matched[column, at]
        for column in range(len(known)):
            row[items + column] = known[column]


@kernel
def of_sources(score: Float32s, scale: Float32s, rank: Float32s, blend: Float32s, discovery: bool) -> Float32s:
    """float32[3 S + 4, n]: what each source says, how many agree, and where stage 1 puts the item; of one query."""
    n, sources = score.shape
    values, place = np.empty((3 * sources + 4, n), dtype=np.float32), order_kernels.places_of(blend)
    agree, first, second, mode = values[3 * sources :]
    for at in range(n):
        agree[at], first[at], second[at], mode[at] = 0, blend[at], place[at], discovery
    for source in range(sources):
        said, scaled, ranked, own = values[3 * source], values[3 * source + 1], values[3 * source + 2], scale[source]
        for at in range(n):
            said[at], ranked[at] = score[at, source], rank[at, source]
        for at in range(n):  # apart, as these can be made many at once
            scaled[at] = said[at] / own
        for at in range(n):
            agree[at] += np.isfinite(ranked[at])
    return values


@kernel
def of_pairs(
    item_num: Int32s,
    events: Events,
    now: int,
    kind_of: Int8s,
    counts: Bools,
    untouched: Float32s,
    half_life_days: float,
) -> tuple[Int64s, Float32s]:
    """What the user did with those items that are in the history: how often, how lately, and at which interval.

    Args:
        item_num: int32[n], rising.
        events: of the user: item, type, time and session.
        now: all else as for :func:`matrix`.
        kind_of: int8[10].
        counts: bool[10].
        untouched: float32[OF_PAIR].
        half_life_days: of the decayed counts.

    Returns:
        The places of these items, int64[t], rising, and float32[t, OF_PAIR].
    """
    touched, event_type, time, session_num = events
    most = min(len(item_num), len(touched))
    places, values = np.empty(most, dtype=np.int64), np.empty((most, OF_PAIR), dtype=np.float32)
    pair, at, found, start = np.empty(OF_PAIR), 0, 0, 0
    # By item, then visit; a sum, as a new visit's number is negative.
    order = np.argsort((touched.astype(np.int64) << 32) + session_num)
    while start < len(order):
        item, stop = touched[order[start]], start + 1
        while stop < len(order) and touched[order[stop]] == item:
            stop += 1
        while at < len(item_num) and item_num[at] < item:
            at += 1
        if at < len(item_num) and item_num[at] == item:
            own = order[start:stop]
            for column in range(OF_PAIR):
                pair[column] = untouched[column]
            age = (now - time[own]) / DAY
            _pair(pair, age, event_type[own], session_num[own], kind_of, counts, half_life_days)
            for column in range(OF_PAIR):
                values[found, column] = pair[column]
            places[found] = at
            found += 1
        start = stop
    return places[:found], values[:found]


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
        kind_of: int8[10], as in of_pairs.
        counts: bool[10], as in of_pairs.
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
def of_user(
    events: Events,
    log_price: Float32s,
    now: int,
    kind_of: Int8s,
    counts: Bools,
    popularity: Float32s,
    until: int,
) -> Float64s:
    """float64[OF_USER + 2]: what kind of user asks, and the days from its last and its first event to a time."""
    items, event_type, time, session_num = events
    kinds, counted = kind_of[event_type], counts[event_type]
    row = np.full(OF_USER + 2, np.nan)
    for kind in range(KINDS):
        row[kind] = np.log1p(np.count_nonzero(kinds == kind))
    row[KINDS] = np.log1p(_distinct(items.astype(np.int64)))
    _visits(row[KINDS + 1 :], now, items[counted], time[counted], session_num[counted])
    row[KINDS + 5] = _mean(popularity[items])
    row[KINDS + 6] = _mean(log_price[np.isfinite(log_price)])
    if len(items):
        row[OF_USER], row[OF_USER + 1] = (until - time[0]) / DAY, (until - time[-1]) / DAY
    return row


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
def of_matches(item_num: Int32s, user: Float64s, stats: Float32s, compared: Int64s) -> Float32s:
    """float32[OF_MATCH, n]: how the items' price, popularity and lifetime compare with the user's.

    Args:
        item_num: int32[n].
        user: float64[OF_USER + 2], as :func:`of_user` tells.
        stats: float32[n_items, s].
        compared: int64[4], as for :func:`matrix`.
    """
    price, interactions, idle, age = compared
    values = np.empty((OF_MATCH, len(item_num)), dtype=np.float32)
    for at in range(len(item_num)):
        item = stats[item_num[at]]
        values[0, at] = item[price] - user[OF_USER - 1]
        values[1, at] = item[interactions] - user[OF_USER - 2]
        # Who was last here before an item came, or after it was gone, did not see it.
        values[2, at] = item[idle] - user[OF_USER]
        values[3, at] = item[age] - user[OF_USER]
        values[4, at] = item[age] - user[OF_USER + 1]
    return values
