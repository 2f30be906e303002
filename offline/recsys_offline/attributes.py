"""The columns of an items file that conditions can be asked of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from recsys.catalogue import (
    AVAILABLE,
    CATEGORY,
    CREATED,
    ITEM_ID,
    PRICE,
    VALID_FROM,
    VALID_UNTIL,
    ItemCatalogue,
    TextColumn,
    category_path,
    shortest,
)
from recsys.types import Array, Float32s, Float64s, Int8s, Int64s
from recsys_offline.tables import Table

NO_ATTRIBUTES = {ITEM_ID, "title", "embedding"}
NAMELESS = ""
"""What a column of row numbers is called that was written without a name; nobody can ask for it."""
TIMES = {CREATED, VALID_FROM, VALID_UNTIL}
MAX_CATEGORY_BYTES = 1_024
MAX_TEXT_BYTES = 256
"""A longer text is a description, which nobody asks for as it is: it counts as unknown."""


def attributes(table: Table, last: Int64s, price: Float32s) -> ItemCatalogue:
    """The attributes of n items: every column that holds one text, number, time or flag for an item.

    Args:
        table: the items file.
        last: int64[n], the row of each item; -1 where it has none.
        price: float32[rows of the table], NaN where unknown.

    Raises:
        TableError: a time or flag cannot be read.
    """
    texts: dict[str, TextColumn] = {}
    numbers: dict[str, Float64s] = {}
    flags: dict[str, Int8s] = {}
    for name in sorted({*table.names} - NO_ATTRIBUTES - {NAMELESS}):
        kind = table.kind(name)
        if name == PRICE:
            numbers[name] = shortest(_aligned(price, last, np.nan))
        elif name in TIMES or pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            numbers[name] = _aligned(_times(table, name), last, np.nan)
        elif name == AVAILABLE or pa.types.is_boolean(kind):
            flags[name] = _aligned(_flags(table, name), last, -1)
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            numbers[name] = _aligned(table.numbers(name)[0], last, np.nan)
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            texts[name] = _text_column(name, [*table.texts(name), ""], last)
    return ItemCatalogue(texts, numbers, flags, deleted=np.zeros(len(last), dtype=np.bool_))


def _text_column(name: str, texts: Sequence[str], last: Int64s) -> TextColumn:
    """The texts of the items; the last one stands for those without a row."""
    written = {text: _text(name, text) for text in set(texts)}
    return TextColumn.of([written[texts[row]] for row in last.tolist()])


def _text(name: str, text: str) -> str:
    text = (category_path(text) if name == CATEGORY else text).replace("\0", "")
    return text if len(text.encode()) <= (MAX_CATEGORY_BYTES if name == CATEGORY else MAX_TEXT_BYTES) else ""


def _times(table: Table, name: str) -> Float64s:
    times = table.times(name)
    return np.where(times.missing, np.nan, times.seconds)


def _flags(table: Table, name: str) -> Int8s:
    """int8[rows]: 1, 0, or -1 where unknown."""
    flags, missing = table.flags(name)
    return np.where(missing, -1, flags).astype(np.int8)


def _aligned(column: Array, last: Int64s, unknown: float) -> Array:
    """A column of the file in the order of the items."""
    return np.append(column, column.dtype.type(unknown))[last]
