"""What users do, kept for good: an append-only log that any number of processes share."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from recsys.event_marks import EventMarks
from recsys.sqlite_files import StateFile, insert, shrink, transaction
from recsys.types import EventType, LiveEvent

FILE = "events.db"
_SCHEMA = """
CREATE TABLE events (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  event_id TEXT NOT NULL UNIQUE,
  user_id TEXT NOT NULL,
  item_id TEXT NOT NULL,
  event_type INTEGER NOT NULL,
  event_time INTEGER NOT NULL,
  quantity REAL NOT NULL,
  price REAL,
  session_id TEXT NOT NULL,
  recommendation_id TEXT NOT NULL,
  position INTEGER NOT NULL
);
CREATE INDEX history ON events (user_id, event_time) WHERE event_type <> 9 AND item_id <> '';
"""
_VERSION = 1
_COLUMNS = """
event_id, user_id, item_id, event_type, event_time, quantity, price, session_id, recommendation_id, position
"""
_APPEND = f"events ({_COLUMNS})"
_NEW = "SELECT event_id, sequence FROM events WHERE sequence > ?"
_LAST = "SELECT NULL, NULL, NULL, NULL, NULL, seq FROM sqlite_sequence WHERE name = 'events'"
_OF_USER = f"""
{_LAST} UNION ALL SELECT * FROM (
  SELECT item_id, event_type, event_time, price, session_id, sequence FROM events
  WHERE user_id = ? AND event_time >= ? AND sequence > ? AND event_type <> 9 AND item_id <> ''
  ORDER BY event_time DESC, sequence DESC LIMIT ?
)
"""  # noqa: S608
_UNMARKED = """
SELECT user_id, event_time, sequence FROM events
WHERE sequence > ? AND event_type <> 9 AND item_id <> '' ORDER BY sequence LIMIT ?
"""
_SCAN = f"SELECT {_COLUMNS} FROM events ORDER BY sequence"  # noqa: S608
_SCAN_NUMBERED = f"SELECT sequence, {_COLUMNS} FROM events ORDER BY sequence"  # noqa: S608
_SCANNED = 10_000
_PRUNE = "DELETE FROM events WHERE sequence >= ? AND sequence < ? AND event_time < ?"
_PRUNED = 1_000
"""Rows that a step of a pruning looks at: writers wait for it."""


class LoggedEvent(NamedTuple):
    """One event as the log keeps it: a row of its table.

    Attributes:
        event_id: unique for ever.
        user_id: who acted.
        item_id: on what; empty for a search.
        event_type: a value of EventType.
        event_time: unix seconds.
        quantity: units.
        price: per unit; None where unknown.
        session_id: the visit; empty where unknown.
        recommendation_id: the slate that it follows from; empty: none.
        position: rank in that slate, from 1; 0: unknown.
    """

    event_id: str
    user_id: str
    item_id: str
    event_type: int
    event_time: int
    quantity: float = 1.0
    price: float | None = None
    session_id: str = ""
    recommendation_id: str = ""
    position: int = 0

    @property
    def counts(self) -> bool:
        """Whether it is part of a history: impressions, and searches that name no item, are not."""
        return bool(self.item_id) and self.event_type != EventType.IMPRESSION

    @property
    def live(self) -> LiveEvent:
        """The event as a query has it."""
        price = math.nan if self.price is None else self.price
        return LiveEvent(self.item_id, EventType(self.event_type), self.event_time, price, self.session_id)


@dataclass(frozen=True, slots=True)
class UserState:
    """What one user did lately.

    Attributes:
        events: newest first.
        version: grows whenever an event joins them; 0 when there is none.
    """

    events: tuple[LiveEvent, ...] = ()
    version: int = 0


class Appended(NamedTuple):
    """What became of an event.

    Attributes:
        is_new: whether it is stored; else its id was known.
        before: the mark of its user before it came, and
        after: then; the same where it joins no history.
    """

    is_new: bool
    before: int = 0
    after: int = 0


class EventLog(StateFile):
    """The log in a state directory; one thread at a time may use an object, any number of objects one directory.

    Args:
        directory: made where it is missing.

    Raises:
        StateError: it cannot be used; so say all methods.
    """

    __slots__ = ("_marks",)

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / FILE, _SCHEMA, _VERSION, durable=True)
        self._marks = EventMarks(directory)
        self._mark_all()

    def close(self) -> None:
        """Let go of the files."""
        super().close()
        self._marks.close()

    def append(self, events: Sequence[LoggedEvent]) -> list[Appended]:
        """Store events, all or none; what became of each. They are on disk when it returns."""
        with transaction(self._connection, self._path) as connection:
            appended, last = self._append(connection, events)
        self._marks.keep(last)
        return appended

    def mark(self, user_id: str, since: int) -> int:
        """0 where a user has no event since a time (unix seconds); else what changes with each further one.

        It tells of an event before that is acknowledged. Users share marks: now and then there is no event behind one,
        or no news behind its change.
        """
        return self._marks.of_user(user_id, since)

    def of_user(self, user_id: str, since: int, limit: int) -> UserState:
        """The newest events of a user, at most ``limit``, none before ``since`` (unix seconds).

        Impressions, and searches that name no item, are no history and are left out.
        """
        return self.news(user_id, since, limit, 0)[0]

    def news(self, user_id: str, since: int, limit: int, after: int) -> tuple[UserState, int]:
        """As :meth:`of_user`, of the events behind a sequence number, and the last number that is taken."""
        rows = self._fetch(_OF_USER, (user_id, since, after, limit))
        if not rows:
            return UserState(), 0
        (*_, last), *found = rows
        events = tuple(
            LiveEvent(item_id, EventType(event_type), time, math.nan if price is None else price, session_id)
            for item_id, event_type, time, price, session_id, _ in found
        )
        return UserState(events, max((row[-1] for row in found), default=0)), last

    def scan(self) -> Iterator[list[LoggedEvent]]:
        """All events in the order of their storing, in parts, as they were when it began."""
        for rows in self._scan(_SCAN, _SCANNED):
            yield list(map(LoggedEvent._make, rows))

    def scan_numbered(self) -> Iterator[list[tuple[int, LoggedEvent]]]:
        """As :meth:`scan`, each event with its sequence number: what :attr:`UserState.version` counts by."""
        for rows in self._scan(_SCAN_NUMBERED, _SCANNED):
            yield [(number, LoggedEvent(*columns)) for number, *columns in rows]

    def prune(self, before: int) -> Iterator[int]:
        """Delete events from before a time (unix seconds) and shrink the file, in steps, so that others may write.

        Yields:
            How many events a step deleted, after each that wrote something.
        """
        ((first, last),) = self._fetch("SELECT min(sequence), max(sequence) FROM events")
        for start in range(first or 0, (last or -1) + 1, _PRUNED):
            with transaction(self._connection, self._path) as connection:
                deleted = connection.execute(_PRUNE, (start, start + _PRUNED, before)).rowcount
            if deleted:
                yield deleted
        for _ in shrink(self._connection, self._path):
            yield 0

    def _append(self, connection: sqlite3.Connection, events: Sequence[LoggedEvent]) -> tuple[list[Appended], int]:
        """What became of each event, and the sequence number of the last one that is new."""
        sequences, appended = _appended(connection, events), []
        for event, sequence in zip(events, sequences, strict=True):
            counts = sequence and event.counts
            marks = self._marks.add(event.user_id, event.event_time, sequence) if counts else ()
            appended.append(Appended(sequence > 0, *marks))
        return appended, max(sequences, default=0)

    def _mark_all(self) -> None:
        """Mark what no mark on disk tells of: a power failure took them, or they were never made."""
        after = self._marks.kept
        while self._fetch(_UNMARKED, (after, 1)):
            with transaction(self._connection, self._path) as connection:  # so that nobody else marks
                rows = connection.execute(_UNMARKED, (after, _SCANNED)).fetchall()
                for row in rows:
                    self._marks.add(*row)
            after = rows[-1][-1] if rows else after
            self._marks.keep(after)


def _appended(connection: sqlite3.Connection, events: Sequence[LoggedEvent]) -> list[int]:
    """The sequence numbers of events in the table, 0 for those that were there before."""
    ((before,),) = connection.execute("SELECT coalesce(max(sequence), 0) FROM events").fetchall()
    inserted = insert(connection, _APPEND, events, "ON CONFLICT (event_id) DO NOTHING")
    if sum(count for count, _ in inserted) == len(events):
        return [*chain.from_iterable(range(last - count + 1, last + 1) for count, last in inserted)]
    new = dict(connection.execute(_NEW, (before,)).fetchall())
    return [new.pop(event.event_id, 0) for event in events]
