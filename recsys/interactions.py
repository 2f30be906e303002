"""Events as columns, and a user's history cut from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from itertools import accumulate

import numpy as np

from recsys import history_kernels
from recsys.kernel import frozen
from recsys.types import Array, Bools, EventType, Float32s, Int8s, Int32s, Int64s

NEW_SESSION = -1
"""session_num of a visit that the bundle does not know."""
ENTRY = np.dtype(
    [
        ("item_num", np.int32),
        ("session_num", np.int32),
        ("time", np.int64),
        ("price", np.float32),
        ("event_type", np.int8),
    ],
    align=True,
)
"""One entry of a history, with the columns of :class:`Histories`; an item of -1 is unknown."""


@dataclass(frozen=True, slots=True)
class Events:
    """Events in the order of their time; all columns have one length n.

    Attributes:
        user_num: int32[n]. Rows below the dataset's number of users are users; rows from there on are anonymous
            sessions, which teach item-item similarity and popularity but are never asked for.
        item_num: int32[n].
        event_type: int8[n], values of EventType.
        time: int64[n], unix seconds; all 0 in a static set, one without times.
        session_num: int32[n], dense rows of sessions or baskets: events of one visit share one.
        quantity: float32[n], units; 1 where the shop gives none.
        price: float32[n], per unit; NaN where the shop gives none.
    """

    user_num: Int32s
    item_num: Int32s
    event_type: Int8s
    time: Int64s
    session_num: Int32s
    quantity: Float32s
    price: Float32s

    def __len__(self) -> int:
        return len(self.time)

    def where(self, mask: Bools) -> Events:
        """The events for which mask (bool[n]) holds."""
        return Events(*(getattr(self, column.name)[mask] for column in fields(self)))

    def slice(self, start: int, stop: int) -> Events:
        """Events start to stop, without a copy."""
        return Events(*(getattr(self, column.name)[start:stop] for column in fields(self)))

    def followed_by(self, later: Events) -> Events:
        """These events, then those."""
        return Events(*(np.concatenate([getattr(self, c.name), getattr(later, c.name)]) for c in fields(self)))

    def before(self, time: int) -> Events:
        """Events strictly before a time (unix seconds), without a copy."""
        return self.slice(0, int(np.searchsorted(self.time, time, side="left")))

    def between(self, start: int, stop: int) -> Events:
        """Events from start (inclusive) to stop (exclusive), without a copy."""
        first, last = np.searchsorted(self.time, (start, stop), side="left")
        return self.slice(int(first), int(last))

    def of_types(self, types: Iterable[EventType]) -> Events:
        """Events of these types."""
        return self.where(np.isin(self.event_type, np.array(list(types), dtype=np.int8)))


@dataclass(frozen=True, slots=True)
class Histories:
    """The histories of n users, newest first: CSR rows.

    Attributes:
        indptr: int64[n + 1]; row u is ``indptr[u]:indptr[u + 1]`` of the columns.
        item_num: int32[m].
        event_type: int8[m].
        time: int64[m], unix seconds, falling inside a row.
        price: float32[m], per unit; NaN where unknown.
        session_num: int32[m]; equal inside a row means the same visit or basket.
    """

    indptr: Int64s
    item_num: Int32s
    event_type: Int8s
    time: Int64s
    price: Float32s
    session_num: Int32s

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def columns(self) -> tuple[Array, ...]:
        """The columns that go with indptr, in the order of the fields."""
        return (self.item_num, self.event_type, self.time, self.price, self.session_num)

    @property
    def arrays(self) -> history_kernels.Rows:
        """All fields, as kernels take and give them."""
        return (self.indptr, self.item_num, self.event_type, self.time, self.price, self.session_num)

    @property
    def row(self) -> Int32s:
        """int32[m]: the row that each entry belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.indptr))

    @classmethod
    def of(cls, events: Events, n_users: int, limit: int) -> Histories:
        """Histories of users 0 to n_users - 1, at most ``limit`` newest events each. Impressions are not history."""
        kept = np.flatnonzero((events.user_num < n_users) & (events.event_type != EventType.IMPRESSION))[::-1]
        user = events.user_num[kept]
        order = kept[np.argsort(user, kind="stable")]
        counts = np.bincount(user, minlength=n_users)
        starts = np.cumsum(counts) - counts
        if counts.size and counts.max() > limit:
            place = np.arange(len(order)) - np.repeat(starts, counts)
            order = order[place < limit]
            counts = np.minimum(counts, limit)
        return cls(
            np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
            events.item_num[order],
            events.event_type[order],
            events.time[order],
            events.price[order],
            events.session_num[order],
        )

    def rows(self, user_num: Array) -> Histories:
        """The histories of these users, in this order; an empty one where user_num is -1."""
        return self.reader()(np.asarray(user_num, dtype=np.int32))

    def reader(self) -> Callable[[Int32s], Histories]:
        """What :meth:`rows` does, for who asks often: what is the same each time is put together once."""
        own = frozen(self.indptr), tuple(map(frozen, self.columns))
        return lambda user_num: Histories(*history_kernels.rows_of(user_num, *own))

    def where(self, kept: Bools) -> Histories:
        """The entries for which kept (bool[m]) holds; a row may become empty."""
        indptr = np.concatenate(([0], np.cumsum(kept)))[self.indptr].astype(np.int64)
        return Histories(indptr, *(column[kept] for column in self.columns))

    def newest(self, limit: Int64s) -> Histories:
        """The newest limit[r] entries of each row r."""
        length = np.minimum(np.diff(self.indptr), limit)
        indptr = np.concatenate(([0], np.cumsum(length))).astype(np.int64)
        picks = np.arange(indptr[-1]) + np.repeat(self.indptr[:-1] - indptr[:-1], length)
        return Histories(indptr, *(column[picks] for column in self.columns))

    def preceded_by(self, items: list[Int32s], time: Int64s, event_type: EventType) -> Histories:
        """These histories with a new visit put first: in row r the items[r], all of one type and at time[r]."""
        starts = np.array([0, *accumulate(map(len, items))])
        entries = np.empty(starts[-1], dtype=ENTRY)
        entries["item_num"] = np.concatenate(items)
        entries["session_num"], entries["price"], entries["event_type"] = NEW_SESSION, np.nan, event_type
        entries["time"] = np.repeat(time, np.diff(starts))
        return self.after(starts, entries)

    def after(self, starts: Int64s, entries: Array) -> Histories:
        """These histories with entries put first: in row r ``starts[r]:starts[r + 1]``, without unknown items.

        Args:
            starts: int64[n + 1].
            entries: ENTRY[m].
        """
        return Histories(*history_kernels.preceded(starts, entries, self.indptr, self.columns))


UNREAD = Histories(
    np.zeros(0, dtype=np.int64),
    np.zeros(0, dtype=np.int32),
    np.zeros(0, dtype=np.int8),
    np.zeros(0, dtype=np.int64),
    np.zeros(0, dtype=np.float32),
    np.zeros(0, dtype=np.int32),
)
"""Stands for those of a batch's users where compiled code reads them itself."""
