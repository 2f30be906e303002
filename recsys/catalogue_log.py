"""What a shop tells of its items between two trainings, kept for good in a file that any number of processes share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recsys.shared_numbers import SharedNumbers
from recsys.sqlite_files import StateFile, explained, transaction

FILE = "catalogue.db"
MARK = "catalogue.mark"
TITLE = "title"
EMBEDDING = "embedding"
_SCHEMA = """
CREATE TABLE items (
  item_id TEXT PRIMARY KEY,
  sequence INTEGER NOT NULL,
  facts TEXT NOT NULL,
  deleted INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX changes ON items (sequence);
"""
_VERSION = 1
_LAST = "SELECT coalesce(max(sequence), 0) FROM items"
_FACTS = "SELECT facts FROM items WHERE item_id = ?"
_SINCE = "SELECT item_id, facts, deleted FROM items WHERE sequence > ? ORDER BY sequence, item_id"
_WRITE = "INSERT OR REPLACE INTO items (item_id, sequence, facts, deleted) VALUES (?, ?, ?, ?)"

Fact = str | float | bool | list[float] | None


@dataclass(frozen=True, slots=True)
class ItemChange:
    """What is known of an item besides, or instead of, what the bundle says.

    Attributes:
        item_id: the item.
        facts: ``title`` (a text), ``embedding`` (numbers), and every other name an attribute: a text, a number or a
            flag; None where it was taken away.
        deleted: whether the shop took the item out.
    """

    item_id: str
    facts: Mapping[str, Fact] = field(default_factory=dict)
    deleted: bool = False


class CatalogueLog(StateFile):
    """The items in a state directory; one thread at a time may use an object, any number of objects one directory.

    Args:
        directory: made where it is missing.

    Raises:
        StateError: it cannot be used; so say all methods.
    """

    __slots__ = ("_mark",)

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / FILE, _SCHEMA, _VERSION, durable=True)
        self._mark = SharedNumbers(directory / MARK, 1)
        with transaction(self._connection, self._path) as connection:  # so that nobody else marks
            (self._mark[0],) = connection.execute(_LAST).fetchone()

    def close(self) -> None:
        """Let go of the files."""
        super().close()
        self._mark.close()

    def write(self, changes: Sequence[ItemChange]) -> int:
        """Store changes, all or none, in their order; the number of them all is returned: their version.

        What an item's change does not name stays as it was stored. They are on disk when it returns.
        """
        with transaction(self._connection, self._path) as connection:
            version: int = connection.execute(_LAST).fetchone()[0] + 1
            for change in changes:
                row = connection.execute(_FACTS, (change.item_id,)).fetchone()
                facts = {**(json.loads(row[0]) if row else {}), **change.facts}
                connection.execute(_WRITE, (change.item_id, version, json.dumps(facts), change.deleted))
            self._mark[0] = version
        return version

    def may_have_changed(self, version: int) -> bool:
        """Whether there may have been a call of :meth:`write` since a version; that costs no look into the file."""
        return self._mark[0] != version

    def since(self, version: int) -> tuple[list[ItemChange], int]:
        """All that is known of the items that changed after a version (0: ever), and the version that it leads to."""
        with explained(self._path):
            self._connection.execute("BEGIN")  # both queries see one state of the file
            try:
                rows = self._connection.execute(_SINCE, (version,)).fetchall()
                last: int = self._connection.execute(_LAST).fetchone()[0]
            finally:
                self._connection.execute("ROLLBACK")
        return [ItemChange(item_id, json.loads(facts), bool(deleted)) for item_id, facts, deleted in rows], last
