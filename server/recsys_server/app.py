"""The composition root: what the server consists of, its start and its end."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from recsys.recommender import Recommender
from recsys.registry import Registry
from recsys_server import models
from recsys_server.catalogue import Catalogue
from recsys_server.engine import Engine
from recsys_server.experiments_file import ExperimentsFile
from recsys_server.front.link import FrontLink
from recsys_server.handlers import Handlers
from recsys_server.interceptors import Gate
from recsys_server.models import Load, Models
from recsys_server.settings import Settings
from recsys_server.slates import Slates
from recsys_server.state import State
from recsys_server.telemetry import Telemetry, listen

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Worker:
    """What makes a server one of several processes that share a port.

    Attributes:
        load: of bundles.
        served: the bundles that the processes have verified.
        serving: told of the address of its metrics as soon as it serves.
        alive: a file that ends when the parent does.
    """

    load: Load
    served: Callable[[], Collection[str]]
    serving: Callable[[str], None]
    alive: int


class App:
    """One server: make it, start it, drain it, on one event loop.

    Args:
        load: of bundles.
        shared_port: whether other processes listen on the same port. Else a taken one is an error.

    Attributes:
        address: where it listens, once started.
        metrics_address: where Prometheus reads, once started.
        models: the bundle that serves.
        state: what is known of users; None without a state directory.

    Raises:
        ConfigError: the experiments file cannot be used.
        StateError: the state directory cannot be used.
    """

    def __init__(
        self, settings: Settings, registry: Registry, load: Load = models.load, *, shared_port: bool = False
    ) -> None:
        self._server_settings = section = settings.server
        self.telemetry = telemetry = Telemetry(time.time)
        self._front = FrontLink(shared=shared_port)
        self._engine = Engine(
            section.max_batch,
            section.max_waiting,
            section.shed_seconds,
            telemetry.stages,
            time.monotonic,
            self._front.together,
        )
        self._experiments = ExperimentsFile(
            Path(section.experiments) if section.experiments else None, telemetry.experiments_refused
        )
        self._load = load
        self.models = Models(registry, swapped=self._swapped, refused=telemetry.bundle_refused, load=self._loaded)
        self._catalogue = Catalogue(section.state, section.max_waiting) if section.state else None
        self.state = self._open_state(settings)
        handlers = Handlers(
            config=settings,
            recommender=self._current,
            catalogue=self._catalogue,
            experiments=self._experiments.current,
            slates=Slates(self._engine, settings.cache, section.deadline_seconds, telemetry, time.monotonic),
            engine=self._engine,
            state=self.state,
            telemetry=telemetry,
            clock=time.time,
        )
        self._gate = Gate(handlers.by_method(), telemetry, section.deadline_seconds, time.monotonic)
        self._shared_port = shared_port
        telemetry.front(lambda: self._front.pid)
        self._watching: list[asyncio.Task[None]] = []
        self.address = self.metrics_address = ""

    async def start(self, served: Collection[str] = ()) -> None:
        """Take the addresses, load the live bundle if there is one, and serve.

        Args:
            served: bundles that can stand in for one that cannot be served.

        Raises:
            AddressError: an address is taken.
            RecsysError: the live bundle cannot be served, or no process for gRPC can be started.
        """
        section = self._server_settings
        self.metrics_address = listen(section.metrics, self.telemetry.registry)
        loading = asyncio.create_task(self.models.start(served))  # beside the start of the process that speaks gRPC
        try:
            if not self._shared_port:
                self.address = await self._front.listen(section.listen, self._gate.answer)
            await loading
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
        if self.models.bundle_id is None:
            _log.warning("%s has no live bundle yet: waiting for the first", section.registry)
        if self._shared_port:  # not earlier: whom the system sends here would wait, while others serve
            self.address = await self._front.listen(section.listen, self._gate.answer)
        self._watching = [
            asyncio.create_task(self.models.watch(section.reload_seconds)),
            asyncio.create_task(self._experiments.watch(section.reload_seconds)),
        ]
        if self.state is not None:
            self._watching.append(asyncio.create_task(self.state.watch()))

    async def drain(self) -> None:
        """Take no new calls, finish those inside, and stop."""
        self._front.set_health(healthy=False)
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        seconds = self._server_settings.drain_seconds
        self._front.stop(seconds + 1)
        await self._gate.drain(seconds)
        self._engine.close()
        if self.state is not None:
            await self.state.close()
        if self._catalogue is not None:
            await self._catalogue.close()
        self._front.stop(0.1)  # health watches never end by themselves
        await self._front.ended()

    async def _loaded(self, path: Path) -> Recommender:
        """The recommender of a bundle, with all that is known of its items since, so that no request waits for that."""
        recommender = await self._load(path)
        if self._catalogue is not None:
            await self._catalogue.prepare(recommender)
        return recommender

    def _current(self) -> Recommender:
        """The recommender that serves, with the shop's latest word on its items."""
        loaded = self.models.current()
        return loaded if self._catalogue is None else self._catalogue.current(loaded)

    def _open_state(self, settings: Settings) -> State | None:
        section = self._server_settings
        if section.state is None:
            return None
        return State(section.state, settings.state, section.max_waiting, self.telemetry.exposures_dropped, time.time)

    async def _swapped(self, recommender: Recommender) -> None:
        self.telemetry.bundle(recommender)
        if self._catalogue is not None:
            self._catalogue.keep(recommender)
        self._front.set_health(healthy=True)


async def run(
    settings: Settings, registry: Registry, announce: Callable[[str], None], worker: Worker | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; announce says one line when it serves.

    Raises:
        RecsysError: the server cannot start.
    """
    app = App(settings, registry, worker.load, shared_port=True) if worker else App(settings, registry)
    await app.start(worker.served() if worker else ())
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if worker:
        loop.add_reader(worker.alive, stop.set)
        worker.serving(app.metrics_address)
    bundle_id = app.models.bundle_id or "none"
    announce(f"recsys-server serving bundle {bundle_id} on {app.address}, metrics on {app.metrics_address}")
    await stop.wait()
    if worker:
        loop.remove_reader(worker.alive)  # which would call without end
    await app.drain()
