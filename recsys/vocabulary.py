"""External string ids and the dense rows they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from itertools import accumulate
from typing import cast

import numpy as np

from recsys import vocabulary_kernels
from recsys.kernel import frozen
from recsys.types import Array, Bytes, Int32s, UInt8s

UNKNOWN = -1
MAX_ID_BYTES = 256
REMEMBERED = 4096
"""Ids whose rows are remembered."""


class Vocabulary:
    """Ids <-> rows, both ways, without a table in memory.

    A row is the rank of its id among all ids in byte order, so that the whole vocabulary is one sorted array that can
    be mapped from a file; a look-up is a binary search in it.

    Ids that come later have the rows behind, so that no row changes; they are in no file.

    Args:
        ids: bytes[n] (fixed width, UTF-8), sorted, unique, none empty.
        later: further ids, in the order of their rows.

    Attributes:
        letters: uint8[n, w] and uint8[m, v], the bytes of the ids and of the later ones, with zeros behind.
        num: the row of an id, or -1 when it is unknown. The last ones asked for are remembered, as one request asks
            more than once who its user is, and most pages of a shop are read by a few.
    """

    __slots__ = ("_ids", "_later", "_row_of", "letters", "num")

    def __init__(self, ids: Bytes, later: Sequence[str] = ()) -> None:
        self._ids = ids
        self._later = tuple(later)
        self._row_of = {text: row for row, text in enumerate(later, start=len(ids))}
        # Of the arrays and not of this object, which would then be in a circle that only the collector ends.
        self.num: Callable[[str], int] = lru_cache(REMEMBERED)(partial(_row, ids, self._row_of))
        self.letters = _letters(ids), _letters(np.array([text.encode() for text in later], dtype=np.bytes_))

    @classmethod
    def of(cls, ids: Iterable[str]) -> Vocabulary:
        """The vocabulary of these ids, in any order, repeats allowed.

        Raises:
            ValueError: an id is empty, longer than 256 bytes of UTF-8 or holds a NUL character.
        """
        encoded = {text.encode() for text in ids}
        for text in encoded:
            if not text or len(text) > MAX_ID_BYTES or b"\0" in text:
                raise ValueError(f"not an id: {text[:40]!r} (1 to {MAX_ID_BYTES} bytes without NUL)")
        return cls(np.array(sorted(encoded), dtype=f"S{max(map(len, encoded), default=1)}"))

    def __len__(self) -> int:
        return len(self._ids) + len(self._later)

    def followed_by(self, later: Sequence[str]) -> Vocabulary:
        """With further ids, none of them known, in the rows behind."""
        return Vocabulary(self._ids, (*self._later, *later))

    @property
    def array(self) -> Bytes:
        """bytes[n], sorted: what a bundle stores, without what came later."""
        return self._ids

    def nums(self, ids: Sequence[str] | Array) -> Int32s:
        """Rows of many ids: int32[n], -1 where unknown."""
        encoded = [text.encode() for text in ids]
        ends = np.array([*accumulate(map(len, encoded))], dtype=np.int64)
        rows = vocabulary_kernels.rows_of(self.letters[0], np.frombuffer(b"".join(encoded), np.uint8), ends)
        if self._later:
            for place in np.flatnonzero(rows == UNKNOWN).tolist():
                rows[place] = self._row_of.get(ids[place], UNKNOWN)
        return rows

    def id(self, num: int) -> str:
        """The id of a row."""
        if num >= len(self._ids):
            return self._later[num - len(self._ids)]
        return cast(bytes, self._ids[num]).decode()

    def ids(self, nums: Array) -> list[str]:
        """The ids of many rows."""
        if self._later:
            return [self.id(num) for num in nums.tolist()]
        return [text.decode() for text in self._ids[nums].tolist()]


def _row(ids: Bytes, row_of: dict[str, int], text: str) -> int:
    key = text.encode()
    # Of the same width as the array: with another, numpy would first convert the whole array.
    row = int(ids.searchsorted(np.array(key, dtype=ids.dtype)))
    return row if row < len(ids) and ids[row] == key else row_of.get(text, UNKNOWN)


def _letters(ids: Bytes) -> UInt8s:
    """uint8[n, w]: the bytes of some ids; no copy."""
    return frozen(ids.view(np.uint8).reshape(len(ids), ids.itemsize))
