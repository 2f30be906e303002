"""Slates served, kept to be joined with what users did next."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from recsys.encoded_slate import item_ids, items
from recsys.sqlite_files import StateFile, insert, transaction
from recsys.types import LiveEvent, SlateItem

FILE = "exposures.db"
_SCHEMA = """
CREATE TABLE exposures (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  recommendation_id TEXT NOT NULL,
  exposure_time INTEGER NOT NULL,
  user_id TEXT NOT NULL,
  placement TEXT NOT NULL,
  bundle_id TEXT NOT NULL,
  assignments TEXT NOT NULL,
  slate BLOB NOT NULL
);
CREATE INDEX of_user ON exposures (user_id, exposure_time) WHERE user_id <> '';
CREATE INDEX of_time ON exposures (exposure_time);
"""
_VERSION = 2
_COLUMNS = "recommendation_id, exposure_time, user_id, placement, bundle_id, assignments, slate"
_APPEND = f"exposures ({_COLUMNS})"
_OF_USER = """
SELECT exposure_time, slate FROM exposures
WHERE user_id = ? AND user_id <> '' AND exposure_time >= ? ORDER BY exposure_time DESC LIMIT ?
"""
_SCAN = f"SELECT {_COLUMNS} FROM exposures ORDER BY sequence"  # noqa: S608
_SCANNED = 1_000
_PRUNE = """
DELETE FROM exposures WHERE sequence IN (SELECT sequence FROM exposures WHERE exposure_time < ? LIMIT 1000)
"""


@dataclass(frozen=True, slots=True)
class Exposure:
    """One slate as it was served.

    Attributes:
        recommendation_id: of the slate.
        time: unix seconds.
        user_id: who asked; empty for anonymous.
        placement: where it stood.
        bundle_id: what answered.
        assignments: (experiment, variant) that shaped it.
        slate: as it was sent, a RecommendResponse: kept as it is, as looking into it costs more than writing it.
    """

    recommendation_id: str
    time: int
    user_id: str
    placement: str
    bundle_id: str
    assignments: tuple[tuple[str, str], ...]
    slate: bytes

    @property
    def items(self) -> tuple[SlateItem, ...]:
        """Best first, with no other reasons than rules."""
        return tuple(items(self.slate))


class ExposureLog(StateFile):
    """The log in a state directory; one thread at a time may use an object, any number of objects one directory.

    A power failure may take the newest exposures; the end of the process does not.

    Args:
        directory: made where it is missing.

    Raises:
        StateError: it cannot be used; so say all methods.
    """

    __slots__ = ()

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / FILE, _SCHEMA, _VERSION, durable=False)

    def append(self, exposures: Sequence[Exposure]) -> None:
        """Store exposures, all or none."""
        rows = list(map(_row, exposures))
        with transaction(self._connection, self._path) as connection:
            insert(connection, _APPEND, rows)

    def shown(self, user_id: str, since: int, limit: int, events: Sequence[LiveEvent] = ()) -> Counter[str]:
        """How often each item was shown to a user without an event on it since.

        Args:
            user_id: who; nothing was shown to the empty one.
            since: unix seconds; earlier slates do not count.
            limit: newest slates that count.
            events: of the user, newest first.
        """
        acted = {event.item_id: event.time for event in reversed(events)}
        rows = self._fetch(_OF_USER, (user_id, since, limit))
        return Counter(item_id for time, slate in rows for item_id in item_ids(slate) if time > acted.get(item_id, -1))

    def scan(self) -> Iterator[list[Exposure]]:
        """All exposures in the order of their storing, in parts, as they were when it began."""
        for rows in self._scan(_SCAN, _SCANNED):
            yield [_exposure(*row) for row in rows]

    def prune(self, before: int) -> Iterator[int]:
        """Delete exposures from before a time (unix seconds) and shrink the file, in steps: how many each deleted."""
        return self._prune(_PRUNE, before)


def _row(exposure: Exposure) -> tuple[str | int | bytes, ...]:
    return (
        exposure.recommendation_id,
        exposure.time,
        exposure.user_id,
        exposure.placement,
        exposure.bundle_id,
        _json(exposure.assignments),
        exposure.slate,
    )


def _exposure(
    recommendation_id: str, time: int, user_id: str, placement: str, bundle_id: str, assignments: str, slate: bytes
) -> Exposure:
    pairs = tuple((experiment, variant) for experiment, variant in json.loads(assignments))
    return Exposure(recommendation_id, time, user_id, placement, bundle_id, pairs, slate)


@lru_cache(maxsize=256)
def _json(assignments: tuple[tuple[str, str], ...]) -> str:
    return json.dumps(assignments, ensure_ascii=False, separators=(",", ":"))
