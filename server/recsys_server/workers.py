"""Several processes behind one port. The parent forks them, mends them and ends them, and does nothing else."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import uvloop

from recsys.errors import RecsysError
from recsys.recommender import Recommender
from recsys.registry import Registry
from recsys_server import app, models, telemetry, worker_metrics
from recsys_server.board import Board
from recsys_server.errors import AddressError, WorkerError
from recsys_server.settings import Settings, address

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
POLL_SECONDS = 0.02
MEND_SECONDS = 1.0  # between two starts of one worker, at least
GRACE_SECONDS = 5.0  # to end, after the drain
_log = logging.getLogger(__name__)


def run(settings: Settings, registry: Registry, announce: Callable[[str], None]) -> int:
    """Serve by ``server.workers`` processes until SIGTERM or SIGINT; announce says one line when all serve.

    Returns:
        The exit status: 0 after a drain; that of the worker, which has said why, where one cannot start.

    Raises:
        AddressError: the address is taken.
        WorkerError: the system allows no further process.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    with _reserved(settings.server.listen) as port:
        host = settings.server.listen.rpartition(":")[0]
        return _Parent(settings, registry, f"{host}:{port.getsockname()[1]}").run(announce)


class _Parent:
    """Processes by slot: the workers, then the one that serves their metrics."""

    def __init__(self, settings: Settings, registry: Registry, listen: str) -> None:
        section = settings.server
        self._settings = settings
        self._registry = registry
        self._listen, self._metrics = listen, section.metrics
        self._count = section.workers
        self._slots = self._count + bool(self._metrics)
        self._board = Board(self._slots)
        self._pids: dict[int, int] = {}
        self._started: dict[int, float] = {}
        self._alive, self._parents_end = os.pipe()  # whoever reads its end knows that the parent has died

    def run(self, announce: Callable[[str], None]) -> int:
        """Start, mend, end."""
        # The first worker alone verifies the bundle, and alone says what is wrong with it.
        for slots in (range(self._count, self._slots), range(1), range(1, self._count)):
            for slot in slots:
                self._start(slot)
            while not all(self._board.port(slot) for slot in slots):
                stopping, ended = self._wait(POLL_SECONDS)
                if stopping or ended:
                    self._end()
                    return max(map(abs, ended.values()), default=0)
        if self._metrics:  # from now on by its real port
            self._metrics = f"{self._metrics.rpartition(':')[0]}:{self._board.port(self._count)}"
        bundle_id = self._registry.live() or "none"
        announce(f"recsys-server serving bundle {bundle_id} on {self._listen}, metrics on {self._metrics or 'none'}")
        while True:
            stopping, ended = self._wait(MEND_SECONDS)
            if stopping:
                return self._end()
            for slot, status in ended.items():
                _log.error("%s ended with status %d; another one is started", self._name(slot), status)
            for slot in self._missing():
                with _logged():
                    self._start(slot)

    def _name(self, slot: int) -> str:
        return f"worker {slot}" if slot < self._count else "the process of the metrics"

    def _missing(self) -> list[int]:
        now = time.monotonic()
        return [
            slot for slot in range(self._slots) if slot not in self._pids and now >= self._started[slot] + MEND_SECONDS
        ]

    def _start(self, slot: int) -> None:
        self._started[slot] = time.monotonic()
        try:
            pid = os.fork()
        except OSError as error:
            raise WorkerError(f"{self._name(slot)} cannot be started: {error.strerror}") from error
        if pid == 0:
            self._be(slot)
        self._pids[slot] = pid

    def _be(self, slot: int) -> None:
        """The life of a child; never returns."""
        status = 1
        try:
            os.close(self._parents_end)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            self._work(slot) if slot < self._count else self._serve_metrics()
            status = 0
        except RecsysError as error:
            print(f"recsys-server: {error}", file=sys.stderr)
        except KeyboardInterrupt:
            status = 130
        except Exception:  # noqa: BLE001 - whatever it is, a child must not return into the parent's code
            _log.exception("%s failed", self._name(slot))
        finally:
            os._exit(status)  # what the parent would do at its own exit is not a child's business

    def _work(self, slot: int) -> None:
        metrics = "127.0.0.1:0"
        server = self._settings.server.model_copy(update={"listen": self._listen, "metrics": metrics})
        worker = app.Worker(
            load=partial(_load, self._board, slot),
            served=self._board.bundle_ids,
            serving=lambda metrics_address: self._board.write(slot, address(metrics_address)[1]),
            alive=self._alive,
        )
        settings = self._settings.model_copy(update={"server": server})
        uvloop.run(app.run(settings, self._registry, lambda _: None, worker))

    def _serve_metrics(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it when the last worker has gone
        joined = worker_metrics.registry(lambda: [self._board.port(slot) for slot in range(self._count)])
        listening = telemetry.listen(self._metrics, joined)
        self._board.write(self._count, address(listening)[1])
        select.select([self._alive], [], [])  # not read: the workers' loops have made it one that does not wait

    def _wait(self, seconds: float) -> tuple[bool, dict[int, int]]:
        """Whether to stop, and the exit statuses of processes that ended, by slot; returns when something happens."""
        info = signal.sigtimedwait(SIGNALS, seconds)
        ended = {}
        for slot, pid in [*self._pids.items()]:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                del self._pids[slot]
                self._board.write(slot, 0)
                ended[slot] = os.waitstatus_to_exitcode(status)
        return info is not None and info.si_signo != signal.SIGCHLD, ended

    def _end(self) -> int:
        """Let the workers drain, then end what is left; 0 where all went well."""
        self._signal(signal.SIGTERM, range(self._count))
        deadline = time.monotonic() + self._settings.server.drain_seconds + GRACE_SECONDS
        failed = 0
        while any(slot in self._pids for slot in range(self._count)) and time.monotonic() < deadline:
            failed += sum(map(bool, self._wait(POLL_SECONDS)[1].values()))
        self._signal(signal.SIGKILL, range(self._slots))
        return 1 if failed else 0

    def _signal(self, number: signal.Signals, slots: range) -> None:
        for slot in slots:
            if slot in self._pids:
                os.kill(self._pids[slot], number)


@contextmanager
def _logged() -> Iterator[None]:
    """A process that cannot be started now is told of, and tried again."""
    try:
        yield
    except WorkerError as error:
        _log.error("%s; it is tried again", error)


async def _load(board: Board, slot: int, path: Path) -> Recommender:
    """The recommender of a bundle, which only the first of the workers verifies."""
    recommender = await (models.load_verified(path) if board.verified(path.name) else models.load(path))
    board.write(slot, board.port(slot), path.name)
    return recommender


def _reserved(text: str) -> socket.socket:
    """A socket that holds an address for the workers, which share its port, and takes no connection itself.

    Raises:
        AddressError: it is taken, or not one of this machine's.
    """
    host, port = address(text)
    try:
        family, kind, _, _, where = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(where)  # fails where anybody listens, be it on a shared port
        shared = socket.socket(family, kind)
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind(where)
    except (OSError, UnicodeError) as error:  # as a name of a host that cannot be one
        raise AddressError(f"address {text} cannot be listened on; choose another with --listen") from error
    return shared
