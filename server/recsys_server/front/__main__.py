"""``python -m recsys_server.front FD HOST:PORT [--shared]``: takes calls, and lets another process answer them.

A server starts it by itself, with the file descriptor of a socket on which :mod:`recsys_server.front.frames` go.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import time
from argparse import ArgumentParser
from collections.abc import Coroutine
from functools import partial
from itertools import count

import grpc
import uvloop
from google.protobuf.descriptor import ServiceDescriptor
from google.rpc import status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

from recsys_server import logs
from recsys_server.front import OPTIONS
from recsys_server.front.frames import Frames, Kind, Told, packed
from recsys_server.front.methods import METHODS, SERVICES

_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
Context = grpc.aio.ServicerContext[bytes, bytes]
Reply = tuple[Kind, bytes]
"""What comes of a call: an answer or a refusal, and its body."""


class Front:
    """A gRPC server that answers nothing by itself but health and reflection.

    Args:
        shared: whether other processes listen on the same port. Else a taken one is an error.
    """

    def __init__(self, *, shared: bool) -> None:
        self.ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        told: dict[Kind, Told] = {
            Kind.HEALTH: self._healthy,
            Kind.STOP: self._told_to_stop,
            Kind.ANSWER: partial(self._replied, Kind.ANSWER),
            Kind.REFUSAL: partial(self._replied, Kind.REFUSAL),
        }
        self._frames = Frames(told, self.ended.set)
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._health = health.aio.HealthServicer()
        self._server = self._grpc_server(shared=shared)
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, connection: socket.socket, listen: str) -> None:
        """Take calls at an address, and tell the other end of the port."""
        await self._loop.create_connection(lambda: self._frames, sock=connection)
        await self._set_health(_NOT_SERVING)
        try:
            port = self._server.add_insecure_port(listen)
        except RuntimeError:
            self._frames.send(Kind.LISTENING, 0)
            self._frames.close()
            return
        await self._server.start()
        self._frames.send(Kind.LISTENING, port)

    def _healthy(self, number: int, _: bytes) -> None:
        self._start(self._set_health(_SERVING if number else _NOT_SERVING))

    def _told_to_stop(self, milliseconds: int, _: bytes) -> None:
        self._start(self._stop(milliseconds / 1000))

    def _replied(self, kind: Kind, number: int, body: bytes) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is not None and not waiting.done():
            waiting.set_result((kind, body))

    async def _call(self, method: int, data: bytes, context: Context) -> bytes:
        now, remaining = time.monotonic(), context.time_remaining()
        number = next(self._numbers)
        waiting: asyncio.Future[Reply] = self._loop.create_future()
        self._waiting[number] = waiting
        deadline = float("inf") if remaining is None else now + remaining
        self._frames.send(Kind.CALL, number, packed((method, now, deadline, data)))
        try:
            kind, body = await waiting
        except asyncio.CancelledError:
            self._waiting.pop(number, None)
            self._frames.send(Kind.GONE, number)
            raise
        if kind == Kind.REFUSAL:
            await context.abort_with_status(rpc_status.to_status(status_pb2.Status.FromString(body)))
        return body

    async def _stop(self, grace: float) -> None:
        await self._server.stop(grace)
        self.ended.set()

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for service in ("", *(service.full_name for service in SERVICES)):
            await self._health.set(service, status)

    def _start(self, coroutine: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _grpc_server(self, *, shared: bool) -> grpc.aio.Server:
        server = grpc.aio.server(options=(*OPTIONS, ("grpc.so_reuseport", int(shared))))
        server.add_generic_rpc_handlers(tuple(map(self._handlers, SERVICES)))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (*(service.full_name for service in SERVICES), _HEALTH, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        return server

    def _handlers(self, service: ServiceDescriptor) -> grpc.GenericRpcHandler:
        methods = {method.name: self._handler(METHODS.index(method.name)) for method in service.methods}
        return grpc.method_handlers_generic_handler(service.full_name, methods)

    def _handler(self, method: int) -> grpc.RpcMethodHandler[bytes, bytes]:
        async def call(data: bytes, context: Context) -> bytes:
            return await self._call(method, data, context)

        return grpc.unary_unary_rpc_method_handler(call)


async def run(connection: socket.socket, listen: str, *, shared: bool) -> None:
    """Serve until the other end says so, or has gone."""
    for number in (signal.SIGTERM, signal.SIGINT):  # whoever signals all processes means the other one, which drains
        asyncio.get_running_loop().add_signal_handler(number, lambda: None)
    front = Front(shared=shared)
    await front.serve(connection, listen)
    gc.collect()
    gc.freeze()
    await front.ended.wait()


def main() -> int:
    """The command."""
    parser = ArgumentParser(prog="python -m recsys_server.front", description=__doc__)
    parser.add_argument("socket", type=int, metavar="FD")
    parser.add_argument("listen", metavar="HOST:PORT")
    parser.add_argument("--shared", action="store_true", help="other processes listen on the same port")
    options = parser.parse_args()
    logs.to_stderr()
    uvloop.run(run(socket.socket(fileno=options.socket), options.listen, shared=options.shared))
    os._exit(0)  # calls that nobody will answer would keep it


if __name__ == "__main__":
    sys.exit(main())
