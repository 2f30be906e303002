"""The experiments file, followed while the server runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from recsys import experiments
from recsys.errors import ConfigError
from recsys.experiments import Experiments

_log = logging.getLogger(__name__)
_Stamp = tuple[int, int, int]


class ExperimentsFile:
    """What the file says, or said before it became unusable.

    Args:
        path: None when there are no experiments.
        refused: called when a changed file cannot be used.

    Raises:
        ConfigError: the file cannot be used.
    """

    def __init__(self, path: Path | None, refused: Callable[[], None]) -> None:
        self._path = path
        self._refused = refused
        self._stamp = _stamp(path) if path else None
        self._current = experiments.load(path) if path else Experiments()

    def current(self) -> Experiments:
        """The experiments that hold now."""
        return self._current

    def refresh(self) -> None:
        """Read the file if it has changed; an unusable one changes nothing but the log."""
        if self._path is None or (stamp := _stamp(self._path)) == self._stamp:
            return
        self._stamp = stamp
        try:
            self._current = experiments.load(self._path)
        except ConfigError as error:
            self._refused()
            _log.error("%s; the experiments from before stay", error)  # a user's error has no trace
        else:
            _log.info("%s: %d experiments", self._path, len(self._current.all))

    async def watch(self, seconds: float) -> None:
        """Refresh now and then, for ever."""
        while True:
            await asyncio.sleep(seconds)
            self.refresh()


def _stamp(path: Path) -> _Stamp | None:
    """What changes when the file does; None when there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
