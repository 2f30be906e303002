"""What users did since the bundle's data ends, put before the histories in the bundle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from recsys.interactions import ENTRY, NEW_SESSION, Histories
from recsys.types import SECONDS_PER_DAY, Array, EventType, LiveEvent
from recsys.vocabulary import UNKNOWN, Vocabulary

MOST_LIVE_EVENTS = 200
"""Of one user: the newest."""
REMEMBERED = 4096
"""Users whose entries are remembered."""
MOST_NEW = 8
"""Events that are put before the remembered ones; of more, all are looked up."""
NOTHING = np.empty(0, dtype=ENTRY)


class _Known(NamedTuple):
    """Events of a user, the entry of each, and the numbers of the visits they belong to."""

    events: Sequence[LiveEvent] = ()
    entries: Array = NOTHING
    visits: Mapping[str | int, int] = MappingProxyType({})


class _Last:
    """The last that was known of a user: read and replaced at once, as threads may."""

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known = _Known()


class LiveEntries:
    """Live events as entries of histories, looked up once: from one request of a user to the next few are new.

    Args:
        items: of the bundle.
    """

    __slots__ = ("_items", "_last")

    def __init__(self, items: Vocabulary) -> None:
        self._items = items
        self._last = lru_cache(REMEMBERED)(lambda user_id: _Last())  # noqa: ARG005  # the id is the key

    def of(self, user_id: str, events: Sequence[LiveEvent]) -> Array:
        """ENTRY[n], of n events of a user, newest first: impressions have no item, as unknown ones have none.

        Visits are numbered below NEW_SESSION, so that neither a visit of the bundle nor the page in view has such a
        number.
        """
        if not events:
            return NOTHING
        last = self._last(user_id)
        known = last.known
        if known.events is not events:
            known = last.known = self._known(events, known)
        return known.entries

    def _known(self, events: Sequence[LiveEvent], before: _Known) -> _Known:
        new = _new(events, before.events) if len(before.visits) < 2 * MOST_LIVE_EVENTS else len(events)
        visits = {} if new == len(events) else dict(before.visits)
        entries = self._entries(events[:new], visits)
        if new < len(events):
            entries = _joined([entries, before.entries[: len(events) - new]])
        return _Known(events, entries, visits)

    def _entries(self, events: Sequence[LiveEvent], visits: dict[str | int, int]) -> Array:
        """The entries of some events; new visits are numbered."""
        entries = np.zeros(len(events), dtype=ENTRY)
        counts = [event.event_type != EventType.IMPRESSION for event in events]
        nums = np.where(counts, self._items.nums([event.item_id for event in events]), UNKNOWN)
        entries["item_num"] = nums
        known = nums != UNKNOWN
        own = [event for event, is_known in zip(events, known.tolist(), strict=True) if is_known]
        entries["session_num"][known] = [visits.setdefault(_visit(one), NEW_SESSION - 1 - len(visits)) for one in own]
        entries["time"][known] = [event.time for event in own]
        entries["price"][known] = [event.price for event in own]
        entries["event_type"][known] = [event.event_type for event in own]
        return entries


def _visit(event: LiveEvent) -> str | int:
    """What tells the visit of an event from others, as in a dataset: its session_id, or else its day."""
    return event.session_id or event.time // SECONDS_PER_DAY


def _new(events: Sequence[LiveEvent], before: Sequence[LiveEvent]) -> int:
    """How many events have come to those before, of which the oldest may have gone; all where it is not just that."""
    for count in range(min(MOST_NEW + 1, len(events))):
        if events[count:] == before[: len(events) - count]:
            return count
    return len(events)


def _joined(parts: Sequence[Array]) -> Array:
    """ENTRY[n]: joined as bytes, as numpy compares the fields of all with those of all."""
    return np.concatenate([part.view(np.uint8) for part in parts]).view(ENTRY)


def with_live(histories: Histories, live: Sequence[Array], asked_at: int, now: int, until: int) -> Histories:
    """The histories with each row's live entries put first; those themselves where there are none.

    Args:
        histories: n rows.
        live: n times ENTRY[m], none older than the newest entry of its row.
        asked_at: unix seconds, and
        now: what it counts as; live events are as long before the one as they were before the other, but
        until: is where the bundle's data end.
    """
    starts = np.array([0, *accumulate(map(len, live))])
    if starts[-1] == 0:
        return histories
    entries = _joined(live)
    time = entries["time"]
    time -= asked_at - now
    np.minimum(np.maximum(time, until, out=time), now, out=time)
    longer = histories.after(starts, entries)
    return longer if len(longer.item_num) > len(histories.item_num) else histories


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
