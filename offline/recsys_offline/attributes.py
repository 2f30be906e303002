"""What items have in common: the columns of few values in the items file, and which of them can teach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from recsys.types import Array, Int32s
from recsys_offline.tables import Table, TableError

SPECIAL = {"item_id", "title", "price", "available", "created_time", "embedding"}
"""Columns that have a meaning of their own."""
LEVELS = 4
"""Of a category's path."""
MAX_COLUMNS = 6
MAX_VALUES = 10_000
LEAST_KNOWN = 0.05
"""Share of the rows in which a column must be filled."""
LEAST_SHARED = 2.0
"""Rows for each value, on average, below which a column tells every row apart and so says nothing of others."""


@dataclass(frozen=True, slots=True)
class AttributeCodes:
    """m columns of n items.

    Attributes:
        names: of the columns.
        codes: int32[n, m], the value's number in its column, from 0; -1 where unknown.
    """

    names: tuple[str, ...]
    codes: Int32s

    @classmethod
    def none(cls, n: int) -> AttributeCodes:
        """Nothing is known of n items."""
        return cls((), np.zeros((n, 0), dtype=np.int32))

    def rows(self, kept: Array) -> AttributeCodes:
        """Some of the items, by mask or by number."""
        return AttributeCodes(self.names, self.codes[kept])


def read(table: Table | None, row: Int32s, n: int) -> AttributeCodes:
    """Every column that may hold few values, aligned to a vocabulary; of a row that stands twice the last one counts.

    Args:
        table: the items file; None where there is none.
        row: int32[rows of the table], -1 where the row has no id.
        n: size of the vocabulary.
    """
    if table is None:
        return AttributeCodes.none(n)
    last = np.full(n, -1, dtype=np.int64)
    last[row[row >= 0]] = np.flatnonzero(row >= 0)
    names, columns = [], []
    for name in table.names:
        if name in SPECIAL or not _may_have_few_values(table, name):
            continue
        for level, codes in _columns(table, name):
            names.append(level)
            columns.append(np.append(codes, np.int32(-1))[last])
    codes = np.stack(columns, axis=1) if columns else np.zeros((n, 0), dtype=np.int32)
    return AttributeCodes(tuple(names), codes)


def _may_have_few_values(table: Table, name: str) -> bool:
    """Whether a column holds words or whole numbers."""
    kind = table.kind(name)
    return bool(
        pa.types.is_dictionary(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_integer(kind)
    )


def _columns(table: Table, name: str) -> Iterator[tuple[str, Int32s]]:
    """A column as codes; a category as one column for each level of its path."""
    try:
        ids = table.ids(name)
    except TableError:  # long texts are descriptions
        return
    if name != "category":
        yield name, ids.num
        return
    paths = [_levels(path) for path in ids.distinct.to_pylist()]
    for level in range(min(max(map(len, paths), default=0), LEVELS)):
        yield f"{name}_{level + 1}", _numbered([path[level] if level < len(path) else "" for path in paths])[ids.num]


def _levels(path: str) -> list[str]:
    """The prefixes of a path: ``a > b`` to a, a > b."""
    return list(accumulate((part.strip() for part in path.split(">") if part.strip()), "{} > {}".format))


def _numbered(texts: Sequence[str]) -> Int32s:
    """int32[len(texts) + 1]: equal numbers for equal texts, -1 for empty ones; the last place is that of no text."""
    numbers: dict[str, int] = {}
    for text in texts:
        if text:
            numbers.setdefault(text, len(numbers))
    return np.array([*(numbers.get(text, -1) for text in texts), -1], dtype=np.int32)


def choose(read: AttributeCodes) -> tuple[AttributeCodes, tuple[str, ...]]:
    """The columns that can teach, at most ``MAX_COLUMNS`` in their order, and what was chosen or not, in words."""
    chosen: dict[str, Int32s] = {}
    reasons = []
    for name, column in zip(read.names, read.codes.T, strict=True):
        codes = _dense(column)
        against = _reason_against(codes, list(chosen.values()))
        reasons.append(f"{name}: {against or f'{codes.max() + 1:,} values'}")
        if not against:
            chosen[name] = codes
    if not chosen:
        return AttributeCodes.none(len(read.codes)), tuple(reasons)
    return AttributeCodes(tuple(chosen), np.stack(list(chosen.values()), axis=1)), tuple(reasons)


def reasons(read: AttributeCodes) -> tuple[str, ...]:
    """What was chosen, as a line for the manifest; none where there are no columns."""
    return (f"attributes of items: {'; '.join(choose(read)[1])}",) if read.names else ()


def _reason_against(codes: Int32s, chosen: Sequence[Int32s]) -> str:
    """Why a column is left out; empty where nothing speaks against it."""
    known = int((codes >= 0).sum())
    values = int(codes.max(initial=-1)) + 1
    if values < 2:
        return "left out, one value"
    if known < LEAST_KNOWN * len(codes):
        return "left out, hardly ever filled"
    if values > MAX_VALUES or known < LEAST_SHARED * values:
        return f"left out, {values:,} values are too many"
    if any(np.array_equal(codes, other) for other in chosen):
        return "left out, says what another says"
    if len(chosen) == MAX_COLUMNS:
        return f"left out, {MAX_COLUMNS} are enough"
    return ""


def _dense(codes: Int32s) -> Int32s:
    """Codes without gaps, in the order of their first row, so that equal partitions are equal arrays."""
    known = np.flatnonzero(codes >= 0)
    values, first, inverse = np.unique(codes[known], return_index=True, return_inverse=True)
    number = np.empty(len(values), dtype=np.int32)
    number[np.argsort(first)] = np.arange(len(values), dtype=np.int32)
    dense = np.full(len(codes), -1, dtype=np.int32)
    dense[known] = number[inverse]
    return dense


def value_rows(chosen: AttributeCodes) -> sp.csr_matrix | None:
    """float32 CSR[v, n], 1 where a row of the codes has the value; None where no value is shared."""
    parts = [_one_hot(codes) for codes in chosen.codes.T]
    return sp.csr_matrix(sp.vstack(parts)) if parts else None


def _one_hot(codes: Int32s) -> sp.csr_matrix:
    """float32 CSR[v, n] of one column."""
    known, size = np.flatnonzero(codes >= 0), int(codes.max(initial=-1)) + 1
    return sp.csr_matrix((np.ones(len(known), np.float32), (codes[known], known)), shape=(size, len(codes)))
