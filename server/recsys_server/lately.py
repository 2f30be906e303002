"""What users did since the bundle, in memory for as long as nothing joins it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from recsys.event_log import Appended, EventLog, LoggedEvent, UserState
from recsys.event_marks import last_of
from recsys.live import MOST_LIVE_EVENTS, merged
from recsys.types import LiveEvent

MOST_KEPT = 50_000
"""Events and users in memory, some 200 bytes each."""
_NOTHING = UserState()


@dataclass(frozen=True, slots=True)
class _Kept:
    """A user's events as they were when the log had so many.

    Attributes:
        since: unix seconds, from which they count.
        mark: of the user when they were read.
        taken: the last sequence number of the log then.
        rows: newest first, also those that tell the same twice.
        state: of them; its events are the very rows where none tells the same twice.
    """

    since: int
    mark: int
    taken: int
    rows: tuple[LiveEvent, ...]
    state: UserState


class Lately:
    """The events of users, newest first, each once, at most 200: all that any server has acknowledged.

    Most users have none, which the log's marks tell without a look into the file. Those of others are read when their
    mark changes, and only what is new; and not where all that changed it was told.

    Args:
        log: to read from.
        most_kept: events and users in memory; who asked longest ago makes room.
    """

    def __init__(self, log: EventLog, most_kept: int = MOST_KEPT) -> None:
        self._log = log
        self._most_kept = most_kept
        self._size = 0
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def of_user(self, user_id: str, since: int) -> UserState:
        """What a user did since a time (unix seconds).

        Raises:
            StateError: the log cannot be read.
        """
        mark = self._log.mark(user_id, since)
        if mark == 0:
            return _NOTHING
        kept = self._kept.get(user_id)
        if kept is not None and kept.mark == mark and kept.since == since:
            self._kept.move_to_end(user_id)
            return kept.state
        before = kept if kept is not None and kept.since == since else _Kept(since, 0, 0, (), _NOTHING)
        now = self._read(user_id, mark, before)
        if now.taken >= last_of(mark):  # else what it tells of is not committed yet
            self._keep(user_id, now)
        return now.state

    def forget(self) -> None:
        """Keep nothing: the log has lost what was too old."""
        self._kept.clear()
        self._size = 0

    def told(self, events: Sequence[LoggedEvent], appended: Sequence[Appended]) -> None:
        """Events that are in the log now, and what became of them."""
        for event, (_, before, after) in zip(events, appended, strict=True):
            kept = self._kept.get(event.user_id)
            if kept is None or kept.mark != before or before == after:
                continue  # he is not asked for, somebody else has changed the mark too, or there is no news
            news = (event.live,) if event.event_time >= kept.since else ()
            self._keep(event.user_id, _after(kept, news, after, last_of(after), last_of(after)))

    def _read(self, user_id: str, mark: int, before: _Kept) -> _Kept:
        news, taken = self._log.news(user_id, before.since, MOST_LIVE_EVENTS, before.taken)
        return _after(before, news.events, mark, taken, news.version)

    def _keep(self, user_id: str, now: _Kept) -> None:
        self._remove(self._kept.pop(user_id, None))
        self._kept[user_id] = now
        self._size += 1 + len(now.rows)
        while self._size > self._most_kept:
            self._remove(self._kept.popitem(last=False)[1])

    def _remove(self, kept: _Kept | None) -> None:
        if kept is not None:
            self._size -= 1 + len(kept.rows)


def _after(before: _Kept, news: tuple[LiveEvent, ...], mark: int, taken: int, version: int) -> _Kept:
    """What is kept once events have come, newest first, the last of them with the number ``version``."""
    since, rows = before.since, before.rows
    if not news:
        return _Kept(since, mark, taken, rows, before.state)
    near = next((place for place, one in enumerate(rows) if one.time < news[-1].time), len(rows))
    newest = merged((*news, *rows[:near]), (), since)
    if rows is before.state.events and len(newest) == len(news) + near:  # mostly, and few are compared
        rows = events = (*newest, *rows[near:])[:MOST_LIVE_EVENTS]
    else:
        rows = tuple(sorted((*news, *rows), key=_newest_first)[:MOST_LIVE_EVENTS])
        events = merged(rows, (), since)
    return _Kept(since, mark, taken, rows, UserState(rows if events == rows else events, version))


def _newest_first(event: LiveEvent) -> int:
    return -event.time
