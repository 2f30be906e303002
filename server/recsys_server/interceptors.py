"""What stands around every handler: deadline, errors as statuses, metrics, drain."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping

from recsys_server import status
from recsys_server.errors import DrainingError
from recsys_server.front.frames import Kind, Reply
from recsys_server.telemetry import Telemetry

Respond = Callable[[bytes, float], Awaitable[bytes]]
"""From the bytes of a request and its deadline to the bytes of the response."""
WAY_BACK = 0.05
"""Share of the time that a client allows in which the answer must get back to it."""
_log = logging.getLogger(__name__)


class Gate:
    """Lets calls in, and counts those inside.

    Args:
        handlers: of each method.
        deadline_seconds: the longest that a call may wait, whatever its client allows.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        handlers: Mapping[str, Respond],
        telemetry: Telemetry,
        deadline_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._handlers = handlers
        self._telemetry = telemetry
        self._deadline_seconds = deadline_seconds
        self._clock = clock
        self._inside = 0
        self._empty = asyncio.Event()
        self._draining = False

    async def answer(self, method: str, data: bytes, since: float, deadline: float) -> Reply:
        """The response to a call, or the status that refuses it.

        Args:
            method: its name.
            data: the request.
            since: when it came, on the clock.
            deadline: when its client gives up.
        """
        code = "CANCELLED"
        self._inside += 1
        try:
            response = await self._response(method, data, since + self._allowed(deadline - since))
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets a status
            refusal = _refusal(method, error)
            code = refusal.code
            return Kind.REFUSAL, refusal.status
        else:
            code = "OK"
            return Kind.ANSWER, response
        finally:
            self._inside -= 1
            if self._draining and self._inside == 0:
                self._empty.set()
            self._telemetry.call(method, code, self._clock() - since)

    async def drain(self, seconds: float) -> None:
        """Refuse new calls and wait until none is inside, but no longer than seconds."""
        self._draining = True
        if self._inside == 0:
            return
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
        except TimeoutError:
            _log.warning("%d calls were still inside after %g seconds of drain", self._inside, seconds)

    def _response(self, method: str, data: bytes, deadline: float) -> Awaitable[bytes]:
        if self._draining:
            raise DrainingError("the server is shutting down; try another replica")
        return self._handlers[method](data, deadline)

    def _allowed(self, seconds: float) -> float:
        """For an answer, of the seconds that a client still waits."""
        return min(seconds * (1 - WAY_BACK), self._deadline_seconds)


def _refusal(method: str, error: Exception) -> status.Refusal:
    request_id = uuid.uuid4().hex
    if status.is_defect(error):
        _log.error("%s failed, request %s", method, request_id, exc_info=error)
    return status.refusal(error, request_id)
