"""Writing of what answers leave behind: after the answer, in batches, never in its way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

from recsys.errors import StateError

MOST_WAITING = 10_000
GATHER_SECONDS = 0.1
_log = logging.getLogger(__name__)


T = TypeVar("T")
Row_contra = TypeVar("Row_contra", contravariant=True)


class Log(Protocol[Row_contra]):
    """Exposures, or samples of features."""

    def append(self, rows: Sequence[Row_contra], /) -> None:
        """Store rows, or raise StateError."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class LogWriter(Generic[T]):
    """Takes rows of a log at once and writes them soon.

    Args:
        name: of the rows, for the server's own log.
        log: this object alone uses it.
        dropped: told how many rows were lost, because too many waited or the disk failed.
    """

    def __init__(self, name: str, log: Log[T], dropped: Callable[[int], None]) -> None:
        self._name = name
        self._log = log
        self._dropped = dropped
        self._waiting: list[T] = []
        self._thread = ThreadPoolExecutor(1, name)
        self._writing: asyncio.Task[None] | None = None

    def record(self, row: T) -> None:
        """Keep a row, unless too many wait already."""
        if len(self._waiting) >= MOST_WAITING:
            self._dropped(1)
            return
        self._waiting.append(row)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_soon())

    async def close(self) -> None:
        """Write what waits, and let go of the log."""
        if self._writing is not None:
            await self._writing
        self._thread.shutdown()
        self._log.close()

    async def _write_soon(self) -> None:
        await asyncio.sleep(GATHER_SECONDS)
        while self._waiting:
            together, self._waiting = self._waiting, []
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._log.append, together)
            except Exception as error:  # noqa: BLE001 - whatever it is, what is lost is counted and the next are written
                self._dropped(len(together))
                defect = None if isinstance(error, StateError) else error  # a disk's error has no trace
                _log.error("%d %s are lost: %s", len(together), self._name, error, exc_info=defect)
