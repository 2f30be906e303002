"""The event log of a server as a table of a dataset, alone or behind a shop's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset

from recsys.event_log import FILE, EventLog, LoggedEvent
from recsys.types import Bools, EventType, Float64s
from recsys_offline.ids import CODED, Ids
from recsys_offline.tables import Table, Times

_TYPES = {
    "event_id": pa.string(),
    "user_id": pa.string(),
    "item_id": pa.string(),
    "event_type": pa.string(),
    "event_time": pa.timestamp("s", "UTC"),
    "quantity": pa.float64(),
    "price": pa.float64(),
    "session_id": pa.string(),
    "recommendation_id": pa.string(),
    "position": pa.int32(),
}
_SCHEMA = pa.schema(list(_TYPES.items()))
T = TypeVar("T")
_WORDS = {int(event_type): event_type.word for event_type in EventType}


class LogTable(Table):
    """The events of a state directory as they are now, in memory.

    Args:
        directory: a server's ``--state``.

    Raises:
        StateError: it cannot be read.
    """

    def __init__(self, directory: Path) -> None:
        self.name, self.files = FILE, (directory / FILE,)
        self.names = _SCHEMA.names
        with closing(EventLog(directory)) as log:
            self._data = pa.dataset.dataset(pa.Table.from_batches(list(map(_batch, log.scan())), _SCHEMA))

    def content(self) -> Iterator[bytes]:
        """The events, not the file, which holds them in no fixed order."""
        for batch in self._data.to_batches():
            yield batch.serialize().to_pybytes()


class JoinedTable(Table):
    """The rows of two tables of events, one below the other; a column that only one has is missing in the other's rows.

    Args:
        first: of a dataset.
        second: what was recorded besides.
    """

    def __init__(self, first: Table, second: Table) -> None:
        self._tables = (first, second)
        self.name = f"{first.name} and {second.name}"
        self.files = (*first.files, *second.files)
        self.names = list(dict.fromkeys((*first.names, *second.names)))

    def __len__(self) -> int:
        return sum(map(len, self._tables))

    def where(self, row: int) -> str:
        """The place of a row (from 0) in words."""
        first, second = self._tables
        return first.where(row) if row < len(first) else second.where(row - len(first))

    def content(self) -> Iterator[bytes]:
        """That of both tables."""
        for table in self._tables:
            yield from table.content()

    def ids(self, name: str) -> Ids:
        """A column of ids."""
        parts = self._both(name, lambda table: table.ids(name), Ids.none)
        chunks = [part.column(np.arange(len(part.num))).cast(CODED) for part in parts]
        array = pa.chunked_array(chunks, CODED).unify_dictionaries().combine_chunks()
        return Ids(array.indices.fill_null(-1).to_numpy(), array.dictionary)

    def fingerprints(self, name: str) -> tuple[npt.NDArray[np.uint64], Bools]:
        """A hash of each id, and whether it is missing."""
        nothing = partial(_nothing, np.uint64(0))
        (first, second), missing = zip(*self._both(name, lambda table: table.fingerprints(name), nothing), strict=True)
        return np.concatenate((first, second)), np.concatenate(missing)

    def numbers(self, name: str) -> tuple[Float64s, Bools]:
        """A column of numbers, and whether each is missing."""
        nothing = partial(_nothing, np.float64(np.nan))
        (first, second), missing = zip(*self._both(name, lambda table: table.numbers(name), nothing), strict=True)
        return np.concatenate((first, second)), np.concatenate(missing)

    def times(self, name: str) -> Times:
        """A column of times."""
        first, second = self._both(name, lambda table: table.times(name), _no_times)
        seconds, missing = (
            np.concatenate((first.seconds, second.seconds)),
            np.concatenate((first.missing, second.missing)),
        )
        return Times(seconds, missing, first.form)

    def _both(self, name: str, read: Callable[[Table], T], nothing: Callable[[int], T]) -> list[T]:
        """A column of each table, or nothing for all rows of one that has no such column."""
        self.require(name)
        return [read(table) if name in table.names else nothing(len(table)) for table in self._tables]


def _batch(rows: list[LoggedEvent]) -> Any:
    columns = dict(zip(LoggedEvent._fields, zip(*rows, strict=True), strict=True))
    columns["event_type"] = tuple(_WORDS[event_type] for event_type in columns["event_type"])
    return pa.record_batch([pa.array(columns[name], kind) for name, kind in _TYPES.items()], schema=_SCHEMA)


def _nothing(value: np.generic, n: int) -> tuple[Any, Bools]:
    return np.full(n, value), np.ones(n, dtype=np.bool_)


def _no_times(n: int) -> Times:
    return Times(np.zeros(n, dtype=np.int64), np.ones(n, dtype=np.bool_), "no times")
