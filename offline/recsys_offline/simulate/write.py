"""The simulated shop as files of a dataset directory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.types import SECONDS_PER_DAY, Array, Bools, EventType, Float64s
from recsys_offline.simulate.events import EventRows
from recsys_offline.simulate.items import Items, titles
from recsys_offline.simulate.users import Users
from recsys_offline.simulate.words import AGE_GROUPS, BRANDS, CATEGORIES, COUNTRIES
from recsys_offline.simulate.world import START_TIME, World

_USER_DIGITS, _ITEM_DIGITS, _COUNT_DIGITS = 8, 6, 6
_WORDS = pa.array([event_type.word for event_type in EventType], pa.string())


def write_events(path: Path, events: EventRows, users: Users) -> None:
    """One file of events."""
    user_num = users.num[events.user_row]
    visited = events.session >= 0
    listed = events.position > 0
    visit = user_num * 10**_COUNT_DIGITS + np.maximum(events.session, 0)
    place = np.arange(len(events)) - np.searchsorted(events.user_row, events.user_row)
    columns = {
        "user_id": ids("u", user_num, _USER_DIGITS),
        "item_id": ids("i", events.item_num, _ITEM_DIGITS, events.item_num >= 0),
        "event_type": pa.DictionaryArray.from_arrays(pa.array(events.event_type - 1), _WORDS),
        "event_time": _times(events.time),
        "event_id": ids("e", user_num * 10**_COUNT_DIGITS + place, _USER_DIGITS + _COUNT_DIGITS),
        "quantity": pa.array(events.quantity, mask=events.quantity == 0),
        "price": pa.array(events.price, from_pandas=True),
        "session_id": ids("s", visit, _USER_DIGITS + _COUNT_DIGITS, visited),
        "recommendation_id": ids("r", visit, _USER_DIGITS + _COUNT_DIGITS, listed),
        "position": pa.array(events.position.astype(np.int32), mask=~listed),
    }
    _write(path, pa.table(columns), plain=("event_time", "event_id"))


def write_items(path: Path, world: World) -> None:
    """The catalogue as it is at the end of the period."""
    items: Items = world.items
    columns = {
        "item_id": item_ids(np.arange(len(items))),
        "title": titles(items),
        "category": [CATEGORIES[row].path for row in items.category.tolist()],
        "brand": [BRANDS[row] for row in items.brand.tolist()],
        "price": items.price,
        "available": items.on_sale(np.arange(len(items)), float(world.days)),
        "created_time": _days(items.launch_day),
    }
    _write(path, pa.table(columns))


def users_table(users: Users) -> pa.Table:
    """Rows of users.parquet."""
    return pa.table(
        {
            "user_id": user_ids(users.num),
            "country": pa.array(np.array(COUNTRIES)[users.country]),
            "age_group": pa.array(np.array(AGE_GROUPS)[users.age_group]),
            "created_time": _days(users.sign_up_day),
        }
    )


def user_ids(num: Array) -> pa.Array:
    """The ids of users in the files; their order is that of the numbers."""
    return ids("u", num, _USER_DIGITS)


def item_ids(num: Array) -> pa.Array:
    """The ids of items in the files; their order is that of the numbers."""
    return ids("i", num, _ITEM_DIGITS)


def ids(letter: str, num: Array, digits: int, known: Bools | None = None) -> pa.Array:
    """Strings like "u00000042", made a digit at a time for all rows at once; null where not known."""
    text = np.empty((len(num), digits + 1), dtype=np.uint8)
    text[:, 0] = ord(letter)
    rest = np.array(num, dtype=np.int64)
    for column in range(digits, 0, -1):
        rest, digit = np.divmod(rest, 10)
        text[:, column] = digit + ord("0")
    offsets = np.arange(len(num) + 1, dtype=np.int32) * (digits + 1)
    valid = None if known is None else pa.py_buffer(np.packbits(known, bitorder="little").tobytes())
    return pa.Array.from_buffers(pa.string(), len(num), [valid, pa.py_buffer(offsets), pa.py_buffer(text)])


def _days(day: Float64s) -> pa.Array:
    """Days from the start of the period as timestamps, on whole seconds."""
    return _times((START_TIME + np.floor(day * SECONDS_PER_DAY).astype(np.int64)) * 1_000_000)


def _times(microseconds: Array) -> pa.Array:
    """Microseconds since 1970 as timestamps."""
    return pa.array(microseconds, pa.timestamp("us", tz="UTC"))


def _write(path: Path, table: pa.Table, plain: tuple[str, ...] = ()) -> None:
    """A Parquet file; ``plain`` names columns whose values hardly repeat."""
    coded = [name for name in table.column_names if name not in plain]
    # Without Arrow's own schema: readers then see strings, not this table's dictionaries.
    pq.write_table(table, path, compression="zstd", use_dictionary=coded, store_schema=False)
