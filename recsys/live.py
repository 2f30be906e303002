"""What users did since the bundle's data ends, put before the histories in the bundle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from recsys.interactions import NEW_SESSION, Histories
from recsys.types import SECONDS_PER_DAY, EventType, LiveEvent
from recsys.vocabulary import UNKNOWN, Vocabulary

MOST_LIVE_EVENTS = 200
"""Of one user: the newest."""
_Entries = list[tuple[int, LiveEvent]]


def with_live(histories: Histories, live: Sequence[Sequence[LiveEvent]], items: Vocabulary) -> Histories:
    """The histories with each row's live events put first; impressions and unknown items are left out.

    Args:
        histories: n rows.
        live: n sequences, newest first, none older than the newest entry of its row.
        items: of the bundle.
    """
    if not any(live):
        return histories
    entries = [
        (row, one) for row, events in enumerate(live) for one in events if one.event_type != EventType.IMPRESSION
    ]
    nums = items.nums([event.item_id for _, event in entries])
    kept = [entry for entry, num in zip(entries, nums, strict=True) if num != UNKNOWN]
    if not kept:
        return histories
    rows = np.array([row for row, _ in kept])
    added = Histories(
        np.searchsorted(rows, np.arange(len(histories) + 1)),
        nums[nums != UNKNOWN],
        np.array([event.event_type for _, event in kept], dtype=np.int8),
        np.array([event.time for _, event in kept], dtype=np.int64),
        np.array([event.price for _, event in kept], dtype=np.float32),
        np.array(_sessions(kept), dtype=np.int32),
    )
    return added.followed_by(histories)


def merged(known: Iterable[LiveEvent], told: Iterable[LiveEvent], since: int) -> tuple[LiveEvent, ...]:
    """Events of one user from two places, newest first, each once, the newest 200 that are not before ``since``.

    Args:
        known: newest first.
        told: what stands in both places is taken from ``known``.
        since: unix seconds.
    """
    distinct = {(one.item_id, one.event_type, one.time): one for one in (*told, *known) if one.time >= since}
    newest = sorted(distinct.values(), key=lambda one: one.time, reverse=True)
    return tuple(newest[:MOST_LIVE_EVENTS])


def _sessions(entries: _Entries) -> list[int]:
    """The visit of each entry, as a dataset tells visits apart: of its session_id, or else of its day.

    Numbers lie below NEW_SESSION, so that neither a visit of the bundle nor the page in view has them.
    """
    numbers: dict[tuple[int, str | int], int] = {}
    return [
        numbers.setdefault((row, event.session_id or event.time // SECONDS_PER_DAY), NEW_SESSION - 1 - len(numbers))
        for row, event in entries
    ]
