"""Columns of ids, handled without a Python string per row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from recsys.types import Array, Bytes, Int32s

pc: Any = pyarrow.compute
CODED = pa.dictionary(pa.int32(), pa.large_string())


@dataclass(frozen=True, slots=True)
class Ids:
    """A column of ids, each distinct one stored once.

    Attributes:
        num: int32[n], place of the row's id in ``distinct``; -1 where null or empty.
        distinct: large_string arrow array, in no order; some may stand in no row.
    """

    num: Int32s
    distinct: Any

    @classmethod
    def none(cls, n_rows: int) -> Ids:
        """A column in which every id is missing."""
        return cls(np.full(n_rows, -1, dtype=np.int32), pa.array([], pa.large_string()))

    def bytes(self) -> Bytes:
        """bytes[len(distinct)], fixed width, UTF-8: what a Vocabulary is made of."""
        width = pc.max(pc.binary_length(self.distinct)).as_py() or 1
        return _padded(self.distinct, width).view(f"S{width}")

    def column(self, kept: Array) -> Any:
        """These rows (bool[n], or places) as an arrow column of text."""
        num = self.num[kept]
        indices: Any = pa.array(num, mask=num < 0)
        return pa.DictionaryArray.from_arrays(indices, self.distinct)


def dictionary_encoded(column: Any) -> Any:
    """An arrow column of text or whole numbers as a column of the type CODED.

    Raises:
        pyarrow.ArrowException: it holds something else.
    """
    if pa.types.is_floating(column.type):  # what pandas makes of whole numbers when some are missing
        column = pc.cast(pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column), pa.int64())
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode() if not pa.types.is_null(column.type) else pc.cast(column, CODED)
    return column.cast(CODED)


def fingerprints(texts: Any) -> npt.NDArray[np.uint64]:
    """A 64-bit hash of each text: uint64[n].

    Words of 8 bytes are mixed as in MurmurHash3's 64-bit finalizer, which is a bijection: texts of up to 8 bytes never
    share a hash, and among 50 million random ones two do once in 10,000 times.
    """
    width = 8 * -(-(pc.max(pc.binary_length(texts)).as_py() or 1) // 8)
    words = _padded(texts.fill_null(""), width).view(np.uint64).reshape(-1, width // 8)
    hashes = np.zeros(len(words), dtype=np.uint64)
    # Texts of different batches meet: a row of zero words beyond the end of a text must not change its hash.
    for word in words.T[::-1]:
        hashes ^= word
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
            hashes ^= hashes >> np.uint64(33)
            hashes *= np.uint64(factor)
        hashes ^= hashes >> np.uint64(33)
    return hashes


def _padded(texts: Any, width: int) -> npt.NDArray[np.uint8]:
    """The bytes of texts, each filled up with zeros to a width: uint8[n * width]."""
    padded = pc.ascii_rpad(texts, width=width, padding="\0")
    return np.frombuffer(padded.buffers()[2] or b"", dtype=np.uint8, count=len(texts) * width)
