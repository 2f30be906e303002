"""The recommender that serves, and its exchange while the server runs."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from pathlib import Path

from recsys import bundle, manifest
from recsys.catalogue import ITEM_ID
from recsys.errors import BundleError, RecsysError
from recsys.recommender import Recommender
from recsys.registry import Registry
from recsys.rules import NO_RULES, AnyOf, Negated, Rules
from recsys.types import EventType, LiveEvent, Query
from recsys_server.errors import NoBundleError

RETRY_SECONDS = 300.0
WARM_UP_SLATE = 100

_NO_FAULT: tuple[str, str | None] = ("", None)
"""The message of the last failure, and the bundle that failed."""
_log = logging.getLogger(__name__)
Load = Callable[[Path], Awaitable[Recommender]]


async def load(path: Path) -> Recommender:
    """The recommender of a bundle, which is hashed, and tried in another process, before anything is asked here.

    Meanwhile it is loaded, off the event loop: that follows no number of a file, as answers do.

    Raises:
        BundleError: it cannot be served; names the file that is damaged.
    """
    loading = asyncio.create_task(_tried(path))
    try:
        await asyncio.to_thread(manifest.verify, path)
        recommender = await loading
    finally:
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
    await asyncio.to_thread(_warm_up, recommender)
    return recommender


async def load_verified(path: Path) -> Recommender:
    """As :func:`load`, where another process has verified the bundle already.

    Raises:
        BundleError: it cannot be served.
    """
    recommender = await asyncio.to_thread(bundle.load, path, verified=True)
    await asyncio.to_thread(_warm_up, recommender)
    return recommender


async def _tried(path: Path) -> Recommender:
    """The recommender of a bundle that killed no other process."""
    await _try(path)
    return await asyncio.to_thread(bundle.load, path, verified=True)


async def _try(path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", "recsys_server.verify", str(path)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    if code := process.returncode:
        raise BundleError(_fault(path, code, said.decode(errors="replace").splitlines()))


class Models:
    """Follows the registry's alias. ``current()`` is one reference: whoever took it keeps it to the end of a request.

    Args:
        swapped: called with the recommender that serves from now on.
        refused: called when a bundle cannot be served.
        load: the recommender of a bundle's directory, or BundleError.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        swapped: Callable[[Recommender], Awaitable[None]],
        refused: Callable[[], None],
        load: Load = load,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._swapped = swapped
        self._refused = refused
        self._load = load
        self._clock = clock
        self._current: Recommender | None = None
        self._fault = _NO_FAULT
        self._retry_at = 0.0

    @property
    def bundle_id(self) -> str | None:
        """The bundle that serves."""
        return self._current.bundle_id if self._current else None

    def current(self) -> Recommender:
        """The recommender that serves.

        Raises:
            NoBundleError: nothing has been published yet.
        """
        if self._current is None:
            raise NoBundleError("no bundle is loaded yet; try again later")
        return self._current

    async def start(self, served: Collection[str] = ()) -> None:
        """As :meth:`refresh`; where that fails, serve what others serve, as they do.

        Args:
            served: bundles that other processes of this server have verified.

        Raises:
            RecsysError: none of these can be served.
        """
        try:
            await self.refresh()
        except RecsysError as error:
            for bundle_id in served:
                with suppress(RecsysError):
                    await self._use(await self._load(self._registry.path(bundle_id)))
                    return self._keep(error)
            raise

    async def refresh(self) -> None:
        """Serve the bundle that the alias names, be it another one when that is loaded.

        Raises:
            RecsysError: it cannot be served; the old one stays.
        """
        while (live := self._registry.live()) is not None and live != self.bundle_id:
            recommender = await self._load(self._registry.path(live))
            if self._registry.live() == live:
                await self._use(recommender)

    async def watch(self, seconds: float) -> None:
        """Refresh now and then, for ever. A bundle that was refused is not tried again for some minutes."""
        while True:
            await asyncio.sleep(seconds)
            try:
                if self._registry.live() != self._fault[1]:
                    self._fault = _NO_FAULT
                elif self._clock() < self._retry_at:
                    continue
                await self.refresh()
            except Exception as error:  # noqa: BLE001 - whatever happens to a new bundle, the old one serves
                self._keep(error)

    async def _use(self, recommender: Recommender) -> None:
        self._current = recommender
        _log.info("serving bundle %s", recommender.bundle_id)
        await self._swapped(recommender)
        # Nothing that a bundle consists of is garbage until the next one comes: keep the collector away from it.
        gc.unfreeze()
        gc.collect()
        gc.freeze()

    def _keep(self, error: Exception) -> None:
        """Say once what is wrong with the live bundle."""
        fault = (str(error), self._live())
        self._retry_at = self._clock() + RETRY_SECONDS
        if fault == self._fault:
            return
        self._fault = fault
        self._refused()
        _log.error("bundle %s refused: %s; still serving %s", fault[1], error, self.bundle_id or "none")

    def _live(self) -> str | None:
        try:
            return self._registry.live()
        except Exception:  # noqa: BLE001 - the registry itself is the fault
            return None


def _warm_up(recommender: Recommender) -> None:
    """Touch what the first requests will need: the popular slate, then each stage for a personal query.

    So too in all ways for which there is other code, for no request must wait until that is compiled: with a condition,
    in the middle of a visit, explained, and with what else a recommender is asked.
    """
    popular = Query("", WARM_UP_SLATE, recommender.until)
    slate = recommender.answer([popular], time.perf_counter).slates[0]
    personal = [Query("", 1, recommender.until, (item.item_id,)) for item in slate.items[:8]]
    for rules in (NO_RULES, Rules(condition=Negated(AnyOf(ITEM_ID, ())))) if personal else ():
        recommender.answer([query._replace(rules=rules) for query in personal], time.perf_counter)
    for query in personal[:1]:
        seen = LiveEvent(query.seed_item_ids[0], EventType.VIEW_ITEM, recommender.until)
        visit = query._replace(live_events=(seen,), explain=True, trace=True)
        for ask in (recommender.answer, recommender.similar, recommender.rank_items):
            ask([visit], time.perf_counter)


def _fault(path: Path, code: int, said: list[str]) -> str:
    if code < 0:
        return f"{path}: reading it killed a process ({signal.Signals(-code).name}); publish another bundle"
    return said[-1] if said else f"{path}: verification ended with status {code}"
