"""The shop's latest word on its items: written off the event loop, in force for the next request of every server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from recsys import extend
from recsys.catalogue_log import CatalogueLog, ItemChange
from recsys.errors import StateError
from recsys.recommender import Recommender
from recsys_server.errors import DeadlineError, OverloadedError, StorageError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Changed:
    """A bundle's recommender with all changes up to a version."""

    recommender: Recommender
    version: int = 0


class Catalogue:
    """What the servers of one state directory are told of items. To be used on one event loop.

    Args:
        directory: of the state; made where it is missing.
        max_waiting: calls that may wait for the disk.

    Raises:
        StateError: the directory cannot be used.
    """

    def __init__(self, directory: Path, max_waiting: int) -> None:
        self._directory = directory
        self._reader, self._writer = CatalogueLog(directory), CatalogueLog(directory)
        self._thread = ThreadPoolExecutor(1, "catalogue")
        self._max_waiting = max_waiting
        self._waiting = 0
        self._changed: dict[Recommender, _Changed] = {}
        self._fault = ""

    async def prepare(self, loaded: Recommender) -> None:
        """Apply what there is to a bundle that is about to serve, off the event loop."""
        try:
            self._changed[loaded] = await asyncio.to_thread(self._apply_all, loaded)
        except StateError as error:
            self._report(error)

    def keep(self, loaded: Recommender) -> None:
        """This bundle serves from now on: forget the others."""
        self._changed = {loaded: self._changed.get(loaded, _Changed(loaded))}

    def current(self, loaded: Recommender) -> Recommender:
        """A bundle's recommender with all that any server has acknowledged, or was seen before the file failed."""
        changed = self._changed.get(loaded, _Changed(loaded))
        try:
            if self._reader.may_have_changed(changed.version):
                changed = self._changed[loaded] = _renewed(self._reader, changed)
            self._fault = ""
        except StateError as error:
            self._report(error)
        return changed.recommender

    async def write(self, changes: Sequence[ItemChange], deadline: float) -> None:
        """Store changes, all or none; when it returns they are on disk.

        Args:
            changes: each item once.
            deadline: monotonic seconds; what is late may be stored all the same.

        Raises:
            OverloadedError: too many calls wait.
            DeadlineError: the disk did not answer in time.
            StorageError: the file cannot be written.
        """
        if not changes:
            return
        if self._waiting >= self._max_waiting:
            raise OverloadedError("too many calls wait for the disk; try again later")
        self._waiting += 1
        writing = asyncio.get_running_loop().run_in_executor(self._thread, self._writer.write, changes)
        writing.add_done_callback(self._written)
        await asyncio.wait([writing], timeout=deadline - asyncio.get_running_loop().time())
        if not writing.done():
            raise DeadlineError("the items were not on disk in time; send them again")
        try:
            writing.result()
        except StateError as error:
            raise StorageError(f"nothing was stored: {error}") from error

    async def close(self) -> None:
        """Write what waits, and let go of the file."""
        await asyncio.to_thread(self._thread.shutdown)
        self._reader.close()
        self._writer.close()

    def _apply_all(self, loaded: Recommender) -> _Changed:
        with closing(CatalogueLog(self._directory)) as log:
            return _renewed(log, _Changed(loaded))

    def _written(self, writing: asyncio.Future[int]) -> None:
        self._waiting -= 1
        if not writing.cancelled() and writing.exception():
            _log.error("items were not stored: %s", writing.exception())

    def _report(self, error: StateError) -> None:
        """Say it once."""
        if str(error) != self._fault:
            _log.error("changes of items are not seen: %s", error)
        self._fault = str(error)


def _renewed(log: CatalogueLog, changed: _Changed) -> _Changed:
    """With what has changed since."""
    changes, version = log.since(changed.version)
    if not changes:
        return changed
    before = changed.recommender
    return _Changed(Recommender(before.identity, extend.changed(before.model, changes, version)), version)
