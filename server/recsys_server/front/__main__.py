"""``python -m recsys_server.front FD HOST:PORT [--shared]``: takes calls, and lets another process answer them.

A server starts it by itself, with the file descriptor of a socket on which :mod:`recsys_server.front.frames` go.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from recsys_server import logs
from recsys_server.front import OPTIONS
from recsys_server.front.calls import Calls
from recsys_server.front.frames import Cutter, Kind, framed, packed
from recsys_server.front.methods import PATHS, SERVICES

_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_STREAMS = 64
"""Calls of health and reflection that are answered at a time; a reflection may stay open for long."""
_TOGETHER = 16
"""Frames that are sent as one, at most: each sending is a call of the system."""
_READ_BYTES = 1 << 18
_NICE = 3
"""Of priority that the process gives up: when too much is asked, answers go before what is refused anyway."""
_log = logging.getLogger(__name__)


class Front:
    """A gRPC server that answers nothing by itself but health and reflection.

    Args:
        connection: to the process that answers.
        shared: whether other processes listen on the same port. Else a taken one is an error.
    """

    def __init__(self, connection: socket.socket, *, shared: bool) -> None:
        self._connection = connection
        self._health = health.HealthServicer()
        self._set_health(_NOT_SERVING)
        options = (*OPTIONS, ("grpc.so_reuseport", int(shared)))
        self._server = grpc.server(ThreadPoolExecutor(_STREAMS), options=options)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*(service.full_name for service in SERVICES), _HEALTH, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self._calls = Calls(self._server, PATHS, self._came, self._gone, self._rested)
        self._gathered: list[bytes] = []

    def serve(self, listen: str) -> None:
        """Take calls at an address, tell the other end of the port, and return when no call is inside any more."""
        try:
            port = self._server.add_insecure_port(listen)
        except RuntimeError:
            self._send(framed(Kind.LISTENING, 0))
            return
        self._server.start()
        gc.collect()
        gc.freeze()
        for run in (self._calls.run, self._read):
            Thread(target=_or_end, args=(run,), daemon=True).start()
        self._send(framed(Kind.LISTENING, port))
        self._server.wait_for_termination()

    def _read(self) -> None:
        """Do what the other end says, as long as there is one."""
        cutter = Cutter(
            {
                Kind.HEALTH: lambda number, _: self._set_health(_SERVING if number else _NOT_SERVING),
                Kind.STOP: lambda milliseconds, _: self._stop(milliseconds / 1000),
                Kind.ANSWER: self._calls.answer,
                Kind.REFUSAL: self._calls.refuse,
            }
        )
        try:
            while data := self._connection.recv(_READ_BYTES):
                cutter.take(data)
        except OSError:  # it has gone, and left something unread
            pass
        os._exit(0)  # calls that nobody will answer would keep it

    def _came(self, number: int, method: int, since: float, deadline: float, data: bytes) -> None:
        self._tell(framed(Kind.CALL, number, packed((method, since, deadline, data))))

    def _gone(self, number: int) -> None:
        self._tell(framed(Kind.GONE, number))

    def _tell(self, frame: bytes) -> None:
        self._gathered.append(frame)
        if len(self._gathered) >= _TOGETHER:
            self._rested()

    def _rested(self) -> None:
        if self._gathered:
            self._send(b"".join(self._gathered))
            self._gathered.clear()

    def _send(self, frames: bytes) -> None:
        try:
            self._connection.sendall(frames)
        except OSError:  # the other end has gone, as reading tells
            return

    def _stop(self, grace: float) -> None:
        self._server.stop(grace)

    def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for service in ("", *(service.full_name for service in SERVICES)):
            self._health.set(service, status)


def _or_end(run: Callable[[], None]) -> None:
    """Run something without which there is no use in the process."""
    try:
        run()
    except Exception:  # noqa: BLE001 - whatever it is, a new process is better than half of one
        _log.exception("the process that speaks gRPC has failed")
        os._exit(1)


def main() -> int:
    """The command."""
    parser = ArgumentParser(prog="python -m recsys_server.front", description=__doc__)
    parser.add_argument("socket", type=int, metavar="FD")
    parser.add_argument("listen", metavar="HOST:PORT")
    parser.add_argument("--shared", action="store_true", help="other processes listen on the same port")
    options = parser.parse_args()
    os.nice(_NICE)
    logs.to_stderr()
    for number in (signal.SIGTERM, signal.SIGINT):  # whoever signals all processes means the other one, which drains
        signal.signal(number, signal.SIG_IGN)
    Front(socket.socket(fileno=options.socket), shared=options.shared).serve(options.listen)
    os._exit(0)  # threads that nobody waits for would keep it


if __name__ == "__main__":
    sys.exit(main())
