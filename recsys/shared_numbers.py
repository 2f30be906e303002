"""Numbers in a file that any number of processes of one machine see change at once."""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path

from recsys.sqlite_files import explained

_BYTES = 8


class SharedNumbers:
    """Whole numbers from 0 to 2**64 - 1, all 0 in a new file; to look at one takes no system call.

    Who writes must see to it that nobody else does. Writes go through the system, as a full disk would kill a process
    that wrote to mapped memory.

    Args:
        path: made where it is missing.
        count: of the numbers.

    Raises:
        StateError: the file cannot be used; so say all methods that write.
    """

    __slots__ = ("_file", "_numbers", "_path")

    def __init__(self, path: Path, count: int) -> None:
        self._path = path
        with explained(path):
            self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0)
            if self._file.seek(0, os.SEEK_END) < count * _BYTES:
                self._file.truncate(count * _BYTES)  # what others have written meanwhile stays
            mapped = mmap.mmap(self._file.fileno(), count * _BYTES, access=mmap.ACCESS_READ)
        self._numbers = memoryview(mapped).cast("Q")

    def __getitem__(self, place: int) -> int:
        return self._numbers[place]

    def __setitem__(self, place: int, number: int) -> None:
        with explained(self._path):
            os.pwrite(self._file.fileno(), number.to_bytes(_BYTES, sys.byteorder), place * _BYTES)

    def sync(self) -> None:
        """Return when the disk has them."""
        with explained(self._path):
            os.fdatasync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
