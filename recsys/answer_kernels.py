"""From the users of a batch to the bytes of their slates in one compiled call, for queries that ask for nothing else.

It calls what the stages are made of, one after the other. What it saves is handing arrays over and back between them,
and the code around that, which is no longer in the processor's cache when it is wanted: a third of a millisecond of a
batch. As nobody outside can tell then what each stage took, it looks at the clock itself; nothing it finds depends on
that.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recsys.candidate_kernels import Merging
from recsys.clock_kernels import seconds
from recsys.encoding_kernels import slates
from recsys.forest_kernels import Coding, Walking
from recsys.held_kernels import Held
from recsys.history_kernels import Columns, Rows, log_prices, rows_of
from recsys.kernel import kernel
from recsys.retrieve_kernels import Asked, retrieved
from recsys.scoring_kernels import Codes, score
from recsys.slate_kernels import best
from recsys.source_kernels import History, Space
from recsys.types import Bools, Float32s, Float64s, Int8s, Int32s, Int64s, UInt8s

NO_HISTORY = -1
"""Items of a slate for a user of whom nothing is known: it is made otherwise."""
STAGES = ("look_up", "retrieve", "rank", "slate", "encode")


class Known(NamedTuple):
    """What a model knows whoever asks.

    Attributes:
        indptr: int64[n + 1], of the histories' rows.
        columns: of the histories.
        codes: of the scorer, as all down to ``half_life_days``.
        coding: of its forest.
        walking: of its forest.
        until: unix seconds.
        kind_of: int8[10].
        counts: bool[10].
        untouched: float32[OF_PAIR].
        half_life_days: of the decayed counts.
        slot_sources: int64[s], for which places are kept, and
        slot_shares: float64[s, 2], of the places.
        first_ids: uint8[m, w], as for :func:`recsys.encoding_kernels.slates`, like all that follow.
        later_ids: uint8[l, v].
        names: uint8[S, b].
        lengths: int64[S].
        columns_of: int64[S].
        explored: uint8[e].
    """

    indptr: Int64s
    columns: Columns
    codes: Codes
    coding: Coding
    walking: Walking
    until: int
    kind_of: Int8s
    counts: Bools
    untouched: Float32s
    half_life_days: float
    slot_sources: Int64s
    slot_shares: Float64s
    first_ids: UInt8s
    later_ids: UInt8s
    names: UInt8s
    lengths: Int64s
    columns_of: Int64s
    explored: UInt8s


@kernel
def answered(
    known: Held,
    told: Rows,
    sources: Held,
    asked: Asked,
    popular: Int32s,
    given: Float32s,
    proposed: Int32s,
    own: Float32s,
    merging: Merging,
    space: Space,
    sizes: Int64s,
    numbers: Float64s,
) -> tuple[UInt8s, Int64s, Int64s, Float64s]:
    """The items of slates as they are sent.

    Args:
        known: a :class:`Known`.
        told: the queries' histories; of no row where they are those of the users.
        sources: as for :func:`recsys.retrieve_kernels.retrieved`, like all down to ``space``.
        asked: the queries.
        popular: int32[m].
        given: float32[q, d].
        proposed: int32[q, K].
        own: float32[q, K].
        merging: how proposals become candidates.
        space: of this thread.
        sizes: int64[q], items of the slates.
        numbers: float64[q, m], as for :func:`recsys.slate_kernels.best`.

    Returns:
        uint8[bytes]; int64[q + 1], where each slate begins; int64[q], its items, NO_HISTORY where nothing is known of
        the user; and float64[5], the seconds of STAGES.
    """
    fixed: Known = known.value
    laps = np.empty(len(STAGES) + 1)
    laps[0] = seconds()
    indptr, item, event_type, time, price, session = told
    if len(indptr) == 0:
        indptr, item, event_type, time, price, session = rows_of(asked.user, fixed.indptr, fixed.columns)
    laps[1] = seconds()
    history = History(indptr, item, event_type, time, session)
    found = retrieved(sources, history, asked, popular, given, proposed, own, merging, space)
    query, candidate, said, rank, scale, blend = found
    laps[2] = seconds()
    margin = score(
        fixed.codes,
        fixed.coding,
        fixed.walking,
        query,
        candidate,
        said,
        rank,
        scale,
        blend,
        asked.discovery,
        asked.now,
        indptr,
        item,
        event_type,
        time,
        log_prices(price),
        session,
        fixed.until,
        fixed.kind_of,
        fixed.counts,
        fixed.untouched,
        fixed.half_life_days,
    )
    laps[3] = seconds()
    kept = fixed.slot_sources, fixed.slot_shares
    starts, position, falling, draw = best(query, margin, rank, sizes, *kept, asked.discovery, numbers)
    laps[4] = seconds()
    out, begun = slates(
        starts,
        position,
        falling,
        draw,
        candidate,
        rank,
        fixed.first_ids,
        fixed.later_ids,
        fixed.names,
        fixed.lengths,
        fixed.columns_of,
        fixed.explored,
    )
    count = np.diff(starts)
    for row in range(len(count)):
        if indptr[row] == indptr[row + 1]:
            count[row] = NO_HISTORY
    laps[5] = seconds()
    return out, begun, count, np.diff(laps)
