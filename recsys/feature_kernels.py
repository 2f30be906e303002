"""The loops of the features: of one query those of its parts, column by column, and the matrix that is made of them."""

from __future__ import annotations

import numpy as np

from recsys import order_kernels
from recsys.forest_kernels import STEP
from recsys.kernel import kernel
from recsys.memory_kernels import ask_for
from recsys.turn_kernels import turn
from recsys.types import Bools, Float32s, Float64s, Int8s, Int32s, Int64s

DAY = 86_400
KINDS = 3
OF_KIND = 3
OF_PAIR = OF_KIND * KINDS + 4
OF_USER = KINDS + 7
OF_MATCH = 5
KNOWN = 4
FEW = 64
"""Events of a history that are compared with each other, and not sorted."""
FEW_SORTED = 15
"""Events that numpy's sort would put in order as it is done here, by insertion."""

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
        popularity = mean_of(stats, touched[own], interactions)
        user = of_user(events, log_price[own], popularity, now[query], kind_of, counts, until)
        places, pairs = of_pairs(item, events, now[query], kind_of, counts, untouched, half_life_days)
        matched = np.empty((OF_MATCH, len(item)), dtype=np.float32)
        fill_matches(matched, compared_of(item, stats, compared), user, len(item))
        _fill(values[rows], said, untouched, user, matched, stats, item)
        for at in range(len(places)):
            for column in range(OF_PAIR):
                values[start + places[at], len(said) + column] = pairs[column, at]
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
    n, sources = np.uint64(len(score)), np.uint64(score.shape[1])
    values, place = np.empty((3 * score.shape[1] + 4, len(score)), dtype=np.float32), order_kernels.places_of(blend)
    agree = np.uint64(3) * sources
    first, second, mode = agree + np.uint64(1), agree + np.uint64(2), agree + np.uint64(3)
    for at in range(n):
        values[agree, at], values[first, at], values[second, at], values[mode, at] = 0, blend[at], place[at], discovery
    turn(values, 0, 3 * len(score), score)
    turn(values, 2 * len(score), 3 * len(score), rank)
    for source in range(sources):
        said, own = np.uint64(3) * source, scale[source]
        scaled, ranked = said + np.uint64(1), said + np.uint64(2)
        for at in range(n):
            values[scaled, at] = values[said, at] / own
        for at in range(n):
            values[agree, at] += np.isfinite(values[ranked, at])
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
        The places of these items, int64[t], rising, and float32[OF_PAIR, t + STEP or more], item by item; what is
        behind the last is nothing.
    """
    touched, _, _, session_num = events
    most = min(len(item_num), len(touched))
    places, values = np.empty(most, dtype=np.int64), np.empty((OF_PAIR, most + STEP), dtype=np.float32)
    pair, at, found, start = np.empty(OF_PAIR), np.uint64(0), np.uint64(0), 0
    order, n = _by_visit(touched, session_num), np.uint64(len(item_num))
    while start < len(order):
        item, stop = touched[order[start]], start + 1
        while stop < len(order) and touched[order[stop]] == item:
            stop += 1
        while at < n and item_num[at] < item:
            at += np.uint64(1)
        if at < n and item_num[at] == item:
            for column in range(np.uint64(OF_PAIR)):
                pair[column] = untouched[column]
            _pair(pair, order[start:stop], events, now, kind_of, counts, half_life_days)
            for column in range(np.uint64(OF_PAIR)):
                values[column, found] = pair[column]
            places[found] = at
            found += np.uint64(1)
        start = stop
    return places[:found], values


@kernel
def _by_visit(item_num: Int32s, session_num: Int32s) -> Int64s:
    """int64[e]: where events stand in the order of their items, and of one item in the order of visits."""
    keys = np.empty(len(item_num), dtype=np.int64)
    for at in range(np.uint64(len(keys))):  # a sum, as a new visit's number is negative
        keys[at] = (np.int64(item_num[at]) << 32) + session_num[at]
    if len(keys) > FEW_SORTED:
        return np.argsort(keys)
    order = np.empty(len(keys), dtype=np.int64)
    for at in range(len(keys)):
        key, place = keys[at], at
        while place > 0 and keys[order[place - 1]] > key:
            order[place] = order[place - 1]
            place -= 1
        order[place] = at
    return order


@kernel
def _pair(
    pair: Float64s,
    own: Int64s,
    events: Events,
    now: int,
    kind_of: Int8s,
    counts: Bools,
    half_life_days: float,
) -> None:
    """Of each kind of event the log count, the decayed count and the days since the last; then the cycle.

    A cycle is the log count of visits, the days since the first, the mean days between two, and the days since the last
    over that mean.

    Args:
        pair: float64[OF_PAIR], as of no event.
        own: int64[e], places of the item's events, which stand visit by visit.
        events: all else as in of_pairs.
        now: as in of_pairs.
        kind_of: int8[10], as in of_pairs.
        counts: bool[10], as in of_pairs.
        half_life_days: of the decayed counts.
    """
    _, event_type, time, session_num = events
    visits, visit, first, last = 0, 0, np.nan, np.nan
    for place in own:
        age, kind = (now - time[place]) / DAY, kind_of[event_type[place]]
        if kind >= 0:
            column = OF_KIND * kind
            pair[column] += 1
            pair[column + 1] += np.exp2(max(age, 0.0) / -half_life_days)
            pair[column + 2] = np.fmin(pair[column + 2], age)
        if counts[event_type[place]]:
            visits += visits == 0 or session_num[place] != visit
            visit, first, last = session_num[place], np.fmax(first, age), np.fmin(last, age)
    for kind in range(KINDS):
        pair[OF_KIND * kind] = _log_count(pair[OF_KIND * kind])
    cycle = OF_KIND * KINDS
    pair[cycle], pair[cycle + 1] = _log_count(visits), first
    if visits > 1:
        pair[cycle + 2] = (first - last) / (visits - 1)
        if pair[cycle + 2] > 0:
            pair[cycle + 3] = last / pair[cycle + 2]


@kernel
def _log_count(count: float) -> float:
    """log(1 + count), for nothing without a call, as most counts are 0."""
    return np.log1p(count) if count else 0.0


@kernel
def of_user(
    events: Events,
    log_price: Float32s,
    popularity: float,
    now: int,
    kind_of: Int8s,
    counts: Bools,
    until: int,
) -> Float64s:
    """float64[OF_USER + 2]: what kind of user asks, and the days from its last and its first event to a time."""
    items, event_type, time, _ = events
    row = np.full(OF_USER + 2, np.nan)
    for kind in range(KINDS):
        count = 0
        for at in range(np.uint64(len(event_type))):
            count += kind_of[event_type[at]] == kind
        row[kind] = _log_count(count)
    met, bought, lines, visits = _distinct_few(events, counts) if len(items) <= FEW else _distinct_many(events, counts)
    row[KINDS], row[KINDS + 1] = _log_count(met), _log_count(visits)
    if visits > 0:
        last, first = 0, len(items) - 1
        while not counts[event_type[last]]:
            last += 1
        while not counts[event_type[first]]:
            first -= 1
        row[KINDS + 2], row[KINDS + 4] = (now - time[last]) / DAY, 1 - bought / lines
        if visits > 1:
            row[KINDS + 3] = (time[last] - time[first]) / DAY / (visits - 1)
    row[KINDS + 5], row[KINDS + 6] = popularity, _mean_of_known(log_price)
    if len(items):
        row[OF_USER], row[OF_USER + 1] = (until - time[0]) / DAY, (until - time[-1]) / DAY
    return row


@kernel
def _distinct_few(events: Events, counts: Bools) -> tuple[int, int, int, int]:
    """As _distinct_many, of few events: each is compared with all before it, which is less than to sort them."""
    items, event_type, _, session_num = events
    met, bought, lines, visits = 0, 0, 0, 0
    for at in range(np.uint64(len(items))):
        was_met, was_bought, was_line, was_visit = False, False, False, False
        for other in range(at):
            is_item, is_visit = items[other] == items[at], session_num[other] == session_num[at]
            counted = counts[event_type[other]]
            was_met |= is_item
            was_bought |= is_item & counted
            was_line |= is_item & is_visit & counted
            was_visit |= is_visit & counted
        met += not was_met
        if counts[event_type[at]]:
            bought += not was_bought
            lines += not was_line
            visits += not was_visit
    return met, bought, lines, visits


@kernel
def _distinct_many(events: Events, counts: Bools) -> tuple[int, int, int, int]:
    """How many different items there are, and of the events that visits are made of items, lines and visits."""
    items, event_type, _, session_num = events
    counted = counts[event_type]
    bought, visits = items[counted].astype(np.int64), session_num[counted].astype(np.int64)
    lines = _distinct((bought << 32) + visits)
    return _distinct(items.astype(np.int64)), _distinct(bought), lines, _distinct(visits)


@kernel
def mean_of(stats: Float32s, item_num: Int32s, column: int) -> float:
    """The mean of some items (int32[e]) in a column of float32[n_items, s], as float64; NaN where there are none."""
    total = 0.0
    for item in item_num:
        total += stats[item, column]
    return total / len(item_num) if len(item_num) else np.nan


@kernel
def _mean_of_known(values: Float32s) -> float:
    """The mean of the finite ones of float32[n] as float64; NaN where there are none."""
    total, count = 0.0, 0
    for value in values:
        if np.isfinite(value):
            total += value
            count += 1
    return total / count if count else np.nan


@kernel
def _distinct(values: Int64s) -> int:
    """How many different values there are among int64[n]."""
    ordered = np.sort(values)
    return int(np.count_nonzero(ordered[1:] != ordered[:-1])) + (len(ordered) > 0)


@kernel
def compared_of(item_num: Int32s, stats: Float32s, compared: Int64s) -> Float32s:
    """float32[KNOWN, n]: what of each item is compared with the user.

    Args:
        item_num: int32[n].
        stats: float32[n_items, s].
        compared: int64[KNOWN], as for :func:`matrix`.
    """
    known = np.empty((KNOWN, len(item_num)), dtype=np.float32)
    for at in range(len(item_num)):
        for column in range(KNOWN):
            known[column, at] = stats[item_num[at], compared[column]]
    return known


@kernel
def fill_matches(values: Float32s, known: Float32s, user: Float64s, n: int) -> None:
    """How the items' price, popularity and lifetime compare with the user's.

    Args:
        values: float32[OF_MATCH, n or more], to be written to.
        known: float32[KNOWN, n or more], as :func:`compared_of` tells.
        user: float64[OF_USER + 2], as :func:`of_user` tells.
        n: the number of items.
    """
    popularity, price, last, first = user[OF_USER - 2], user[OF_USER - 1], user[OF_USER], user[OF_USER + 1]
    for at in range(np.uint64(n)):
        values[0, at] = known[0, at] - price
        values[1, at] = known[1, at] - popularity
        # Who was last here before an item came, or after it was gone, did not see it.
        values[2, at] = known[2, at] - last
        values[3, at] = known[3, at] - last
        values[4, at] = known[3, at] - first
