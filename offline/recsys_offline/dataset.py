"""A shop's data: a dataset directory as arrays, every kind of dirt counted."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from recsys.interactions import Events
from recsys.types import SECONDS_PER_DAY, Array, Bools, EventType, Float32s, Int8s, Int32s, Int64s
from recsys.vocabulary import Vocabulary
from recsys_offline import directory
from recsys_offline.catalogue import Catalogue, find_dirt, prices
from recsys_offline.findings import Finding, find
from recsys_offline.ids import Ids
from recsys_offline.tables import Table, TableError, Times

EARLIEST_YEAR = 1900
EARLIEST = int(datetime(EARLIEST_YEAR, 1, 1, tzinfo=UTC).timestamp())
"""Unix seconds before which there was no shop whose events these are."""
WORDS = {event_type.word: event_type for event_type in EventType}


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What the data was when it was read: facts for a manifest.

    Attributes:
        rows_read: rows of the events file.
        rows: those of them that were kept.
        start_time: of the first event, ISO 8601 in UTC; empty in a set without times.
        end_time: of the last event, likewise.
        sha256: over the names and bytes of the dataset's files.
    """

    rows_read: int
    rows: int
    start_time: str
    end_time: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A shop's events, users and items.

    Attributes:
        path: the directory; further attributes of items and users stand in its files.
        events: in the order of their time; at equal times in the order of the file.
        users: of the kept events and of the users file. User rows from ``len(users)`` on are anonymous sessions.
        items: of the kept events and of the items file.
        catalogue: what the items file says, aligned to ``items``.
        has_times: False in a static set, where every time is 0.
        facts: what a manifest says of the data.
        findings: each kind of dirt that was met, with the rule that dealt with it.
    """

    path: Path
    events: Events
    users: Vocabulary
    items: Vocabulary
    catalogue: Catalogue
    has_times: bool
    facts: DataFacts
    findings: tuple[Finding, ...]


def read(path: Path, now: int | None = None, state: Path | None = None) -> Dataset:
    """The dataset in a directory.

    Args:
        path: a directory of ``events.parquet``, ``events.csv`` or a folder ``events`` of Parquet parts and, optionally,
            of ``items`` and ``users`` likewise; or a server's state directory.
        now: unix seconds; events after it are dropped. None: no event is in the future.
        state: a server's state directory, whose events join those of ``path`` unless they have the id of one of them.

    Raises:
        TableError: the dataset cannot be used; names the first problem with its row and the fix.
    """
    tables = directory.tables(path, state)
    rows = _Rows(*(column(tables.events) for column in COLUMNS))
    item_ids = tables.items.ids("item_id") if tables.items else None
    user_ids = tables.users.ids("user_id") if tables.users else None
    kept, findings = _keep(rows, tables.events, now)
    order = np.flatnonzero(kept)
    order = order[np.argsort(rows.time[order], kind="stable")]
    users, user_num, _ = _vocabulary(rows.user, order, user_ids)
    items, item_num, listed_num = _vocabulary(rows.item, order, item_ids)
    events = _events(rows, order, user_num, item_num, len(users))
    catalogue = Catalogue.empty(len(items))
    if tables.items:
        catalogue = Catalogue.of(tables.items, listed_num, len(items))
        findings += find_dirt(tables.items, listed_num)
    has_times = rows.times is not None
    facts = _facts(tables, events, len(kept), has_times=has_times)
    return Dataset(path, events, users, items, catalogue, has_times, facts, findings)


def problems(path: Path) -> tuple[TableError, ...]:
    """Every reason why a directory cannot be read, where ``read`` stops at the first."""
    try:
        tables = directory.tables(path)
    except TableError as error:
        return (error,)
    attempts: list[Callable[[], Any]] = [partial(column, tables.events) for column in COLUMNS]
    if tables.users:
        attempts.append(partial(tables.users.ids, "user_id"))
    if tables.items:
        attempts.append(partial(tables.items.ids, "item_id"))
        attempts.append(partial(Catalogue.of, tables.items, np.full(len(tables.items), -1, dtype=np.int32), 0))
    found = []
    for attempt in attempts:
        try:
            attempt()
        except TableError as error:
            found.append(error)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The events file as columns of n rows, in its own order, nothing dropped yet."""

    user: Ids
    item: Ids
    session: Int32s
    repeated: Bools
    event_type: Int8s
    times: Times | None
    quantities: tuple[Float32s, Bools]
    prices: tuple[Float32s, Bools]

    @property
    def time(self) -> Int64s:
        """Unix seconds, 0 in a static set."""
        return self.times.seconds if self.times else np.zeros(len(self.event_type), dtype=np.int64)


def _keep(rows: _Rows, table: Table, now: int | None) -> tuple[Bools, tuple[Finding, ...]]:
    """Which rows are events that can be used, and what was wrong with the others; each is counted once."""
    kept = np.ones(len(rows.event_type), dtype=np.bool_)
    findings: tuple[Finding, ...] = ()
    no_item = rows.item.num < 0
    is_search = rows.event_type == EventType.SEARCH
    nobody = (rows.user.num < 0) & (rows.session < 0)
    future = rows.time > (np.iinfo(np.int64).max if now is None else now)
    ancient = rows.time < EARLIEST
    for mask, name, action, fix in (
        (rows.repeated, "repeated event ids", "dropped, the first one is kept", "give each event its own event_id"),
        (nobody, "events of nobody", "dropped", "fill user_id, or session_id for an anonymous visit"),
        (no_item & is_search, "searches without an item", "left out: they teach nothing about items", ""),
        (no_item, "events without an item", "dropped", "fill item_id"),
        (future, "future times", "dropped", "correct event_time: UTC, not after the time of this run"),
        (ancient, f"times before {EARLIEST_YEAR}", "dropped", "correct event_time: UTC"),
    ):
        findings += find(table, mask & kept, name, action, fix)
        kept &= ~mask
    if not kept.any():
        found = "; ".join(finding.line() for finding in findings)
        raise TableError(table.name, f"no event is left of {len(kept):,} rows", found or "give it at least one row")
    anonymous = kept & (rows.user.num < 0)
    findings += find(table, anonymous, "events of anonymous sessions", "kept: they teach similarity and popularity")
    findings += find(table, kept & rows.prices[1], "bad prices", "taken as unknown", "write a price of 0 or more")
    findings += find(table, kept & rows.quantities[1], "bad quantities", "taken as 1", "write a quantity above 0")
    return kept, findings


def _vocabulary(ids: Ids, order: Int64s, extra: Ids | None) -> tuple[Vocabulary, Int32s, Int32s]:
    """The vocabulary of the ids in these rows and of all extra ids; both as rows of it, -1 where missing."""
    extra = extra or Ids.none(0)
    num = ids.num[order]
    present, present_extra = _present(num, ids), _present(extra.num, extra)
    texts = np.concatenate((ids.bytes()[present], extra.bytes()[present_extra]))
    array, row = np.unique(texts, return_inverse=True)
    n_present = np.count_nonzero(present)
    return Vocabulary(array), _rows(num, present, row[:n_present]), _rows(extra.num, present_extra, row[n_present:])


def _present(num: Int32s, ids: Ids) -> Bools:
    """bool[len(ids.distinct)]: which ids stand in some row."""
    present = np.zeros(len(ids.distinct), dtype=np.bool_)
    present[num[num >= 0]] = True
    return present


def _rows(num: Int32s, present: Bools, row: Int64s) -> Int32s:
    """Places among ids as rows of a vocabulary, given the row of each id that is present."""
    row_of = np.full(len(present) + 1, -1, dtype=np.int32)  # the last place is that of -1
    row_of[:-1][present] = row
    return row_of[num]


def _events(rows: _Rows, order: Int64s, user_num: Int32s, item_num: Int32s, n_users: int) -> Events:
    """The rows in this order as events; anonymous sessions (user_num -1) get rows from n_users on."""
    time, session = rows.time[order], rows.session[order]
    key = time // SECONDS_PER_DAY  # of a visit: its session or else its day, and its user in the upper half
    key += session.max() + 1 - key.min()
    np.copyto(key, session, where=session >= 0)
    key += (user_num.astype(np.int64) + 1) << 32
    session_num = _dense(key)
    anonymous = user_num < 0
    user_num[anonymous] = n_users + _dense(session[anonymous])
    price, quantity = rows.prices[0][order], rows.quantities[0][order]
    return Events(user_num, item_num, rows.event_type[order], time, session_num, quantity, price)


def _dense(keys: Array) -> Int32s:
    """Equal numbers for equal keys: int32[n], from 0, in the order of the keys."""
    order = np.argsort(keys)
    ordered = keys[order]
    dense = np.zeros(len(keys), dtype=np.int32)
    dense[order[1:]] = np.cumsum(ordered[1:] != ordered[:-1], dtype=np.int32)
    return dense


def _facts(tables: directory.Tables, events: Events, rows_read: int, *, has_times: bool) -> DataFacts:
    ends = (events.time[0], events.time[-1]) if has_times else ()
    start, end = (datetime.fromtimestamp(int(time), UTC).isoformat() for time in ends) if has_times else ("", "")
    return DataFacts(rows_read, len(events), start, end, tables.sha256())


def event_types(table: Table) -> Int8s:
    """The event types of an events table: int8[n], values of EventType.

    Raises:
        TableError: a row has none, or a word that is not an event type.
    """
    ids = table.ids("event_type")
    words = ids.distinct.to_pylist()
    types = np.array([*(WORDS.get(word, 0) for word in words), 0], dtype=np.int8)[ids.num]
    unknown = types == 0
    if unknown.any():
        row = int(np.argmax(unknown))
        strange = sorted({words[num] for num in np.unique(ids.num[unknown]) if num >= 0})
        problem = f"event_type {', '.join(map(repr, strange[:5]))} is not known" if strange else "event_type is missing"
        near = difflib.get_close_matches(strange[0] if strange else "", WORDS, n=1)
        fix = f"did you mean {near[0]!r}?" if near else f"write one of {', '.join(WORDS)}"
        raise TableError(table.where(row), f"{problem} ({unknown.sum():,} rows)", fix)
    return types


def event_times(table: Table) -> Times | None:
    """The times of an events table; None in a static set, one without any.

    Raises:
        TableError: some are missing, or one isn't a time.
    """
    times = table.times("event_time") if "event_time" in table.names else None
    if times is None or times.missing.all():
        return None
    if times.missing.any():
        row, count = int(np.argmax(times.missing)), int(times.missing.sum())
        problem = f"event_time is missing ({count:,} of {len(times.missing):,} rows)"
        raise TableError(table.where(row), problem, "fill it in every row, or in none for a static set")
    return times


def _quantities(table: Table) -> tuple[Float32s, Bools]:
    """Units, 1 where not given; and which are no quantity."""
    if "quantity" not in table.names:
        return np.ones(len(table), dtype=np.float32), np.zeros(len(table), dtype=np.bool_)
    values, missing = table.numbers("quantity")
    quantity = values.astype(np.float32)
    bad = ~missing & ~((quantity > 0) & np.isfinite(quantity))
    return np.where(missing | bad, np.float32(1), quantity), bad


def _user_ids(table: Table) -> Ids:
    return table.ids("user_id")


def _item_ids(table: Table) -> Ids:
    return table.ids("item_id")


def _sessions(table: Table) -> Int32s:
    """The place of each row's session among the session ids; -1 where it has none."""
    return table.ids("session_id").num if "session_id" in table.names else np.full(len(table), -1, dtype=np.int32)


def _repeated(table: Table) -> Bools:
    """Rows whose event_id an earlier row has."""
    if "event_id" not in table.names:
        return np.zeros(len(table), dtype=np.bool_)
    hashes, missing = table.fingerprints("event_id")
    order = np.argsort(hashes, kind="stable")
    repeated = np.zeros(len(hashes), dtype=np.bool_)
    repeated[order[1:]] = np.diff(hashes[order]) == 0
    return repeated & ~missing


COLUMNS: tuple[Callable[[Table], Any], ...] = (
    _user_ids,
    _item_ids,
    _sessions,
    _repeated,
    event_types,
    event_times,
    _quantities,
    prices,
)
