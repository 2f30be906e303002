"""What stands around every handler: deadline, errors as statuses, metrics, drain."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from recsys_server import status
from recsys_server.errors import DrainingError
from recsys_server.front.frames import Kind
from recsys_server.front.link import Reply
from recsys_server.running import Running
from recsys_server.telemetry import Telemetry

Respond = Callable[[bytes, float], Coroutine[Any, None, bytes]]
"""From the bytes of a request and its deadline to the bytes of the response; run as :class:`Running` tells."""
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

    def answer(self, method: str, data: bytes, since: float, deadline: float, reply: Reply) -> Running[bytes]:
        """Reply with the response to a call, or with the status that refuses it.

        Args:
            method: its name.
            data: the request.
            since: when it came, on the clock.
            deadline: when its client gives up.
            reply: called once, unless the call is cancelled.
        """
        self._inside += 1
        respond = _draining if self._draining else self._handlers[method]
        allowed = min((deadline - since) * (1 - WAY_BACK), self._deadline_seconds)
        return Running(respond(data, since + allowed), partial(self._ended, method, since, reply))

    async def drain(self, seconds: float) -> None:
        """Refuse new calls and wait until none is inside, but no longer than seconds."""
        self._draining = True
        if self._inside == 0:
            return
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
        except TimeoutError:
            _log.warning("%d calls were still inside after %g seconds of drain", self._inside, seconds)

    def _ended(self, method: str, since: float, reply: Reply, outcome: bytes | BaseException) -> None:
        self._inside -= 1
        if self._draining and self._inside == 0:
            self._empty.set()
        if isinstance(outcome, bytes):
            self._telemetry.call(method, "OK", self._clock() - since)
            reply(Kind.ANSWER, outcome)
        elif isinstance(outcome, Exception):
            refusal = _refusal(method, outcome)
            self._telemetry.call(method, refusal.code, self._clock() - since)
            reply(Kind.REFUSAL, refusal.status)
        else:
            self._telemetry.call(method, "CANCELLED", self._clock() - since)


async def _draining(data: bytes, deadline: float) -> bytes:  # noqa: ARG001 - as any other Respond
    raise DrainingError("the server is shutting down; try another replica")


def _refusal(method: str, error: Exception) -> status.Refusal:
    if not status.is_defect(error):
        return status.refusal(error)
    request_id = uuid.uuid4().hex
    _log.error("%s failed, request %s", method, request_id, exc_info=error)
    return status.refusal(error, request_id)
