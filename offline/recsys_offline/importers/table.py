"""Any table of events: its columns and event types named by the caller."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from recsys.errors import DataError
from recsys.types import Array, EventType, Int8s
from recsys_offline import directory
from recsys_offline.dataset import WORDS
from recsys_offline.findings import Finding, find
from recsys_offline.importers import ImportReport
from recsys_offline.tables import Table, TableError, Times

# In --map OLD=drop: rows of that type are left out.
DROP = "drop"
# Columns of the dataset that are taken along when the table has them under these names.
TAKEN_ALONG = ("event_id", "session_id", "quantity", "price")
NO_MAP: Mapping[str, str] = MappingProxyType({})


def run(
    source: Path,
    out: Path,
    *,
    user_id: str,
    item_id: str,
    event_time: str | None = None,
    event_type: str | None = None,
    as_type: str | None = None,
    mapping: Mapping[str, str] = NO_MAP,
) -> ImportReport:
    """Imports a CSV, Excel or Parquet file, or a folder of Parquet parts.

    Args:
        source: the table.
        out: the dataset directory to write.
        user_id: name of the column of users; text or whole numbers.
        item_id: name of the column of items, likewise.
        event_time: name of the column of times; None for a static set.
        event_type: name of the column of event types.
        as_type: the event type of every row, where there is no such column.
        mapping: words of the event type column -> event types, or ``drop``. Words that are event types need none.

    Raises:
        TableError: a column is missing, a word is not an event type, some times are missing, or a value cannot be read.
        DataError: not exactly one of event_type and as_type is given, or ``out`` cannot be written.
    """
    if (event_type is None) == (as_type is None):
        raise DataError("give either --event-type COLUMN or --as-type TYPE")
    table = Table.at(source)
    table.require(*(name for name in (user_id, item_id, event_time, event_type) if name))
    types = map_types(table, event_type, mapping) if event_type else np.full(len(table), _type(as_type or ""), np.int8)
    times = _times(table, event_time) if event_time else None
    users, items = table.ids(user_id), table.ids(item_id)
    kept = types > 0
    findings: tuple[Finding, ...] = find(table, ~kept, "events mapped to drop", "left out")
    session = table.ids("session_id").num if "session_id" in table.names else np.full(len(table), -1, np.int32)
    for mask, name, fix in (
        ((users.num < 0) & (session < 0), "events without a user", f"fill {user_id}"),
        ((items.num < 0) & (types != EventType.SEARCH), "events without an item", f"fill {item_id}"),
    ):
        findings += find(table, mask & kept, name, "dropped", fix)
        kept &= ~mask
    columns = {"user_id": users.column(kept), "item_id": items.column(kept), "event_type": words(types[kept])}
    if times:
        columns["event_time"] = timestamps(times.seconds[kept])
    taken = [name for name in TAKEN_ALONG if name in table.names]
    columns |= {name: table.column(name).filter(pa.array(kept)) for name in taken}
    events = pa.table(columns)
    directory.write(out, events)
    notes = [f"times read as {times.form}" if times else "no times: a static set"]
    notes += [f"columns taken along: {', '.join(taken)}"] if taken else []
    return ImportReport(source, out, len(table), events.num_rows, 0, findings, tuple(notes))


def map_types(table: Table, name: str, mapping: Mapping[str, str]) -> Int8s:
    """A column of words as event types: int8[n], 0 where mapped to ``drop``.

    Raises:
        TableError: a word is neither mapped nor an event type; names all such words.
        DataError: a word is mapped to what is not an event type.
    """
    number = {word: 0 if new == DROP else _type(new) for word, new in mapping.items()}
    ids = table.ids(name)
    old = ids.distinct.to_pylist()
    types = np.array([*(number.get(word, WORDS.get(word, -1)) for word in old), -1], dtype=np.int8)[ids.num]
    unmapped = np.flatnonzero(types < 0)
    if len(unmapped):
        strange = sorted({old[num] if num >= 0 else "" for num in np.unique(ids.num[unmapped])})
        problem = f"{name} {', '.join(map(repr, strange[:5]))} is no event type ({len(unmapped):,} rows)"
        fix = " ".join(f"--map {word}=TYPE" for word in strange[:5] if word) or f"fill {name} in every row"
        raise TableError(table.where(int(unmapped[0])), problem, f"{fix}; TYPE is one of {', '.join(WORDS)} or {DROP}")
    return types


def words(types: Array) -> Any:
    """Event types (int8[n]) as an arrow column of words."""
    return pa.DictionaryArray.from_arrays(pa.array(types - np.int8(1)), pa.array(list(WORDS)))


def timestamps(seconds: Array) -> Any:
    """Unix seconds (int64[n]) as an arrow column of timestamps."""
    return pa.array(seconds, pa.timestamp("s", "UTC"))


def _type(word: str) -> EventType:
    if word not in WORDS:
        raise DataError(f"{word!r} is not an event type; use one of {', '.join(WORDS)}")
    return WORDS[word]


def _times(table: Table, name: str) -> Times:
    times = table.times(name)
    if times.missing.any():
        problem = f"{name} is missing ({int(times.missing.sum()):,} of {len(table):,} rows)"
        fix = "fill it in every row, or leave out --event-time for a static set"
        raise TableError(table.where(int(np.argmax(times.missing))), problem, fix)
    return times
