"""What a shop says about its items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from recsys.catalogue import ItemCatalogue
from recsys.types import Bools, Float32s, Int32s, Int64s
from recsys_offline.attributes import attributes
from recsys_offline.findings import Finding, find
from recsys_offline.tables import Table, TableError

pc: Any = pyarrow.compute  # its stubs refuse plain Python values

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Attributes of n items, aligned to the rows of their vocabulary.

    Attributes:
        titles: empty where unknown.
        categories: paths such as ``home > kitchen``; empty where unknown.
        brands: empty where unknown.
        price: float32[n]; NaN where unknown.
        available: bool[n]; True where unknown.
        created_time: int64[n], unix seconds; 0 where unknown.
        listed: bool[n], whether the items file has the item.
        embedding: float32[n, e], vectors that the shop brings; zeros where unknown, e 0 where there are none.
        attributes: all that conditions can be asked of: the columns above but titles, and the shop's own.
    """

    titles: tuple[str, ...]
    categories: tuple[str, ...]
    brands: tuple[str, ...]
    price: Float32s
    available: Bools
    created_time: Int64s
    listed: Bools
    embedding: Float32s
    attributes: ItemCatalogue

    @classmethod
    def empty(cls, n_items: int) -> Self:
        """A catalogue that knows nothing of its items."""
        texts = ("",) * n_items
        price = np.full(n_items, np.nan, dtype=np.float32)
        available, listed = np.ones(n_items, dtype=np.bool_), np.zeros(n_items, dtype=np.bool_)
        created, embedding = np.zeros(n_items, dtype=np.int64), np.zeros((n_items, 0), dtype=np.float32)
        attributes = ItemCatalogue.empty(n_items)
        return cls(texts, texts, texts, price, available, created, listed, embedding, attributes)

    @classmethod
    def of(cls, table: Table, item_num: Int32s, n_items: int) -> Self:
        """The catalogue in an items table; of an item that stands there twice the last row counts.

        Args:
            table: the items file.
            item_num: int32[rows of the table], -1 where the row has no item id.
            n_items: size of the vocabulary.

        Raises:
            TableError: a price, time, flag or embedding cannot be read.
        """
        # Numpy keeps the last value that it is told to write into a place.
        last = np.full(n_items, -1, dtype=np.int64)
        last[item_num[item_num >= 0]] = np.flatnonzero(item_num >= 0)
        return cls(
            titles=_texts(table, "title", last),
            categories=_texts(table, "category", last),
            brands=_texts(table, "brand", last),
            price=_aligned(prices(table)[0], last, unknown=np.nan),
            available=_aligned(_available(table), last, unknown=True),
            created_time=_aligned(_created_times(table), last, unknown=0),
            listed=last >= 0,
            embedding=_aligned(_embeddings(table), last, unknown=0),
            attributes=attributes(table, last, prices(table)[0]),
        )


def _texts(table: Table, name: str, last: Int64s) -> tuple[str, ...]:
    if name not in table.names:
        return ("",) * len(last)
    texts = [*table.texts(name), ""]  # row -1
    return tuple(texts[row] for row in last.tolist())


def _aligned(column: npt.NDArray[T], last: Int64s, unknown: float) -> npt.NDArray[T]:
    """A column of the items file in the order of the vocabulary."""
    filler = np.full((1, *column.shape[1:]), unknown, dtype=column.dtype)
    return np.concatenate([column, filler])[last]


def _available(table: Table) -> Bools:
    if "available" not in table.names:
        return np.ones(len(table), dtype=np.bool_)
    available, missing = table.flags("available")
    return available | missing


def _created_times(table: Table) -> Int64s:
    if "created_time" not in table.names:
        return np.zeros(len(table), dtype=np.int64)
    return table.times("created_time").seconds


def _embeddings(table: Table) -> Float32s:
    """float32[rows, e], zeros where there is none.

    Raises:
        TableError: the column holds no lists of numbers, or two are of different lengths.
    """
    if "embedding" not in table.names:
        return np.zeros((len(table), 0), dtype=np.float32)
    try:
        lists = pc.cast(table.column("embedding").combine_chunks(), pa.large_list(pa.float32()))
    except pa.ArrowException as error:
        raise TableError(table.name, "column 'embedding' holds no lists of numbers", "write list<float>") from error
    length = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    given = np.flatnonzero(length)
    wanted = int(length[given[0]]) if len(given) else 0
    values = pc.fill_null(lists.flatten(), np.nan).to_numpy(zero_copy_only=False)
    odd = given[length[given] != wanted]
    if len(odd):
        problem = f"embedding of {length[odd[0]]} numbers, where row {given[0] + 1} has {wanted}"
        raise TableError(table.where(int(odd[0])), problem, "give every item as many, or none")
    embedding = np.zeros((len(table), wanted), dtype=np.float32)
    embedding[given] = values.reshape(len(given), wanted)
    bad = ~np.isfinite(embedding).all(axis=1)
    if bad.any():
        problem = "embedding holds what is no finite number"
        raise TableError(table.where(int(np.argmax(bad))), problem, "write finite numbers")
    return embedding


def prices(table: Table) -> tuple[Float32s, Bools]:
    """The prices of a table: float32[n], NaN where unknown; and bool[n], those given that no price can be."""
    if "price" not in table.names:
        return np.full(len(table), np.nan, dtype=np.float32), np.zeros(len(table), dtype=np.bool_)
    values, missing = table.numbers("price")
    price = values.astype(np.float32)
    bad = ~missing & ~((price >= 0) & np.isfinite(price))
    price[bad] = np.nan
    return price, bad


def find_dirt(table: Table, item_num: Int32s) -> tuple[Finding, ...]:
    """What is dirty in an items table whose rows stand for these items (int32[n], -1: none)."""
    repeated = np.zeros(len(item_num), dtype=np.bool_)
    order = np.argsort(item_num, kind="stable")
    repeated[order[1:]] = np.diff(item_num[order]) == 0
    findings = find(table, item_num < 0, "items without an id", "left out", "fill item_id")
    findings += find(
        table, repeated & (item_num >= 0), "repeated items", "the last row counts", "keep one row per item"
    )
    if "price" in table.names:
        findings += find(
            table, prices(table)[1], "bad prices of items", "taken as unknown", "write a price of 0 or more"
        )
    return findings
