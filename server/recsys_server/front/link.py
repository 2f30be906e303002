"""The process that speaks gRPC, as the one that answers sees it."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable
from functools import partial

from recsys.errors import RecsysError
from recsys_server.errors import AddressError, FrontError
from recsys_server.front.frames import Frames, Kind, call_of
from recsys_server.front.methods import METHODS
from recsys_server.running import Running

MEND_SECONDS = 1.0
"""Between two starts of a process that ended by itself."""
END_SECONDS = 5.0
_log = logging.getLogger(__name__)
Reply = Callable[[Kind, bytes], None]
"""Called with ANSWER and the bytes of a response, or with REFUSAL and those of a status."""
Answer = Callable[[str, bytes, float, float, Reply], Running[bytes]]
"""From the name of a method, the bytes of a request, when it came and when its client gives up (both on the monotonic
clock) to a call on its way to a reply."""


class FrontLink:
    """Starts the process, mends it when it dies, and answers what it hands on. To be made and used on one event loop.

    Args:
        shared: whether other processes listen on the same port.
    """

    _answer: Answer

    def __init__(self, *, shared: bool) -> None:
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._frames: Frames | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Future[int] = self._loop.create_future()
        self._inside: dict[int, Running[bytes]] = {}
        self._healthy = self._serving = False
        self._address = ""
        self._mending: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Of the process; 0 while there is none."""
        return self._process.pid if self._process and self._process.returncode is None else 0

    async def listen(self, address: str, answer: Answer) -> str:
        """Start the process; the address with its real port.

        Args:
            address: host and port.
            answer: of each call, which is cancelled when its client has gone.

        Raises:
            AddressError: it is taken, or not one of this machine's.
            FrontError: the process does not start.
        """
        try:
            own = await self._start(address)
        except OSError as error:
            raise FrontError(f"the process that speaks gRPC cannot be started: {error.strerror}") from error
        self._listening = self._loop.create_future()
        self._answer = answer
        self._frames = frames = Frames(
            {Kind.LISTENING: self._listens, Kind.CALL: self._called, Kind.GONE: self._gone}, self._lost
        )
        await self._loop.create_connection(lambda: frames, sock=own)
        port = await self._listening
        if not port:
            raise AddressError(f"address {address} cannot be listened on; choose another with --listen")
        self._serving = True
        self._address = f"{address.rpartition(':')[0]}:{port}"
        self.set_health(healthy=self._healthy)
        return self._address

    async def _start(self, address: str) -> socket.socket:
        """Start the process; the socket to it."""
        own, other = socket.socketpair()
        with other:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-P", "-m", "recsys_server.front", str(other.fileno()), address),
                    *(["--shared"] if self._shared else []),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    pass_fds=[other.fileno()],
                )
            except BaseException:
                own.close()
                raise
        return own

    def set_health(self, *, healthy: bool) -> None:
        """What health checks hear of all services."""
        self._healthy = healthy
        self._send(Kind.HEALTH, int(healthy))

    def stop(self, grace: float) -> None:
        """Take no calls any more; the process ends in ``grace`` seconds, or when all calls have ended."""
        self._serving = False
        if self._mending is not None:
            self._mending.cancel()
        self._send(Kind.STOP, int(grace * 1000))

    async def ended(self) -> None:
        """Wait until the process has ended; what does not end is killed."""
        if self._process is None:
            return
        try:
            await asyncio.wait_for(self._process.wait(), END_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def together(self, call: Callable[[], None]) -> None:
        """Call something, and send all that it replies as one."""
        if self._frames is not None:
            self._frames.together(call)
        else:
            call()

    def _send(self, kind: Kind, number: int, body: bytes = b"") -> None:
        if self._frames is not None:
            self._frames.send(kind, number, body)

    def _listens(self, port: int, _: bytes) -> None:
        self._listening.set_result(port)

    def _called(self, number: int, body: bytes) -> None:
        method, since, deadline, data = call_of(body)
        call = self._answer(METHODS[method], data, since, deadline, partial(self._reply, number))
        if call.waits:
            self._inside[number] = call

    def _gone(self, number: int, _: bytes) -> None:
        if number in self._inside:
            self._inside.pop(number).cancel()

    def _reply(self, number: int, kind: Kind, body: bytes) -> None:
        self._inside.pop(number, None)
        self._send(kind, number, body)

    def _lost(self) -> None:
        gone, self._inside = self._inside, {}
        for call in gone.values():
            call.cancel()
        if not self._listening.done():
            self._listening.set_exception(FrontError("the process that speaks gRPC did not start; see above"))
        elif self._serving:
            self._serving = False
            _log.error("the process that speaks gRPC ended; another one is started")
            self._mending = self._loop.create_task(self._mend())

    async def _mend(self) -> None:
        while not self._serving:
            try:
                await self.listen(self._address, self._answer)
            except RecsysError as error:
                _log.error("%s", error)
                await asyncio.sleep(MEND_SECONDS)
