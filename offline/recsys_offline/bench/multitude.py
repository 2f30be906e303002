"""Many users made of few, written part by part to files that are then mapped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np

from recsys.interactions import Histories
from recsys.types import Array, Int64s

JITTER = 0.05
"""Relative spread of the vectors of users who are otherwise alike."""
AT_ONCE = 200_000


def vectors(random: np.random.Generator, few: Array, drawn: Int64s, path: Path) -> Array:
    """The vectors of the drawn users, each spread a little, mapped from a file.

    Args:
        random: spreads them.
        few: float[n, d], of the users there.
        drawn: int64[m], rows of ``few``.
        path: the file, written here; it must outlive the array.
    """
    with path.open("wb") as file:
        _head(file, few.dtype, (len(drawn), few.shape[1]))
        for part in _parts(drawn):
            spread = random.standard_normal((len(part), few.shape[1]), dtype=np.float32)
            (few[part] * (1 + np.float32(JITTER) * spread)).astype(few.dtype).tofile(file)
    return _mapped(path)


def histories(few: Histories, drawn: Int64s, folder: Path) -> Histories:
    """The histories of the drawn users, mapped from files in a folder, which must outlive them."""
    indptr = np.concatenate(([0], np.cumsum(np.diff(few.indptr)[drawn]))).astype(np.int64)
    paths = [folder / f"history_{number}.npy" for number in range(len(few.columns))]
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path in paths]
        for file, column in zip(files, few.columns, strict=True):
            _head(file, column.dtype, (int(indptr[-1]),))
        for part in _parts(drawn):
            for file, column in zip(files, few.rows(part).columns, strict=True):
                column.tofile(file)
    return Histories(indptr, *map(_mapped, paths))


def ids(letter: str, count: int) -> Array:
    """bytes[count]: ids of eight digits, rising."""
    digits = np.arange(count)[:, None] // 10 ** np.arange(7, -1, -1) % 10
    text = np.full((count, 9), ord(letter), dtype=np.uint8)
    text[:, 1:] = digits + ord("0")
    return text.view("S9").ravel()


def _parts(drawn: Int64s) -> Iterator[Int64s]:
    for start in range(0, len(drawn), AT_ONCE):
        yield drawn[start : start + AT_ONCE]


def _head(file: IO[bytes], dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> None:
    """What stands before the values in a file of numpy."""
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)


def _mapped(path: Path) -> Array:
    array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array.view(np.ndarray)
