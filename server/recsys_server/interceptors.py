"""What stands around every handler: deadline, errors as statuses, metrics, drain."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable

import grpc

from recsys_server import status
from recsys_server.errors import DrainingError
from recsys_server.telemetry import Telemetry

Respond = Callable[[bytes, float], Awaitable[bytes]]
Context = grpc.aio.ServicerContext[bytes, bytes]
_log = logging.getLogger(__name__)


class Gate:
    """Lets calls in, and counts those inside.

    One function around each handler: the interceptors of grpc.aio do the same at several times the cost per call.

    Args:
        deadline_seconds: the longest that a call may wait, whatever its client allows.
        clock: monotonic seconds.
    """

    def __init__(self, telemetry: Telemetry, deadline_seconds: float, clock: Callable[[], float]) -> None:
        self._telemetry = telemetry
        self._deadline_seconds = deadline_seconds
        self._clock = clock
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._draining = False

    def method(self, name: str, respond: Respond) -> grpc.RpcMethodHandler[bytes, bytes]:
        """A handler for grpc out of one from the bytes of a request and its deadline to the bytes of the response."""

        async def call(data: bytes, context: Context) -> bytes:
            started, code = self._clock(), "CANCELLED"
            self._enter()
            try:
                response = await self._respond(respond, data, started + self._allowed(context))
            except Exception as error:  # noqa: BLE001 - whatever it is, the client gets a status
                refusal = _refusal(name, error)
                code = refusal.code.name
                await context.abort(refusal.code, refusal.message, refusal.trailers)
            else:
                code = "OK"
                return response
            finally:
                self._leave()
                self._telemetry.call(name, code, self._clock() - started)

        return grpc.unary_unary_rpc_method_handler(call)

    async def drain(self, seconds: float) -> None:
        """Refuse new calls and wait until none is inside, but no longer than seconds."""
        self._draining = True
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
        except TimeoutError:
            _log.warning("%d calls were still inside after %g seconds of drain", self._inside, seconds)

    async def _respond(self, respond: Respond, data: bytes, deadline: float) -> bytes:
        if self._draining:
            raise DrainingError("the server is shutting down; try another replica")
        return await respond(data, deadline)

    def _allowed(self, context: Context) -> float:
        remaining = context.time_remaining()
        return self._deadline_seconds if remaining is None else min(remaining, self._deadline_seconds)

    def _enter(self) -> None:
        self._inside += 1
        self._empty.clear()

    def _leave(self) -> None:
        self._inside -= 1
        if self._inside == 0:
            self._empty.set()


def _refusal(method: str, error: Exception) -> status.Refusal:
    request_id = uuid.uuid4().hex
    if status.is_defect(error):
        _log.error("%s failed, request %s", method, request_id, exc_info=error)
    return status.refusal(error, request_id)
