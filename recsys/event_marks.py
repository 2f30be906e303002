"""Which users have events, and since when: looked up in mapped memory before, or instead of, the log itself."""

from __future__ import annotations

import zlib
from pathlib import Path

from recsys.shared_numbers import SharedNumbers
from recsys.types import SECONDS_PER_DAY

FILE = "events.marks"
_PLACES = 2**21
"""Numbers that users share, 16 MiB; of a million users with events, every third is alone."""
_SEQUENCE_BITS = 48
_SEQUENCE = (1 << _SEQUENCE_BITS) - 1
_LAST_DAY = 2**16 - 1
_KEPT = 0
_FIRST_PLACE = 1
KEPT_AT_ONCE = 10_000
"""Sequence numbers after which marks are brought to the disk."""


class EventMarks:
    """A mark for the users of each hash: the day of their newest event, counted from 1, and the last sequence number.

    They are written before the events that they tell of are committed, by who holds the log's lock. What is not on disk
    when the power fails is marked again from the log.

    Args:
        directory: of the log.

    Raises:
        StateError: the file cannot be used; so say all methods that write.
    """

    __slots__ = ("_numbers",)

    def __init__(self, directory: Path) -> None:
        self._numbers = SharedNumbers(directory / FILE, _FIRST_PLACE + _PLACES)

    @property
    def kept(self) -> int:
        """All marks up to this sequence number are on disk."""
        return self._numbers[_KEPT]

    def of_user(self, user_id: str, since: int) -> int:
        """The mark of a user; 0 where there is no event since a time (unix seconds)."""
        mark = self._numbers[_place(user_id)]
        return mark if mark >> _SEQUENCE_BITS > since // SECONDS_PER_DAY else 0

    def add(self, user_id: str, time: int, sequence: int) -> tuple[int, int]:
        """Mark an event of a user at a time (unix seconds); the mark before and after."""
        place = _place(user_id)
        mark = self._numbers[place]
        day = min(max(mark >> _SEQUENCE_BITS, time // SECONDS_PER_DAY + 1), _LAST_DAY)
        marked = day << _SEQUENCE_BITS | max(mark & _SEQUENCE, sequence)
        if marked != mark:
            self._numbers[place] = marked
        return mark, marked

    def keep(self, sequence: int) -> None:
        """Bring the marks to the disk now and then; all up to this sequence number are committed."""
        if sequence - self._numbers[_KEPT] >= KEPT_AT_ONCE:
            self._numbers.sync()
            self._numbers[_KEPT] = sequence

    def close(self) -> None:
        """Let go of the file."""
        self._numbers.close()


def last_of(mark: int) -> int:
    """The last sequence number that a mark tells of."""
    return mark & _SEQUENCE


def _place(user_id: str) -> int:
    return _FIRST_PLACE + zlib.crc32(user_id.encode(errors="surrogatepass")) % _PLACES
