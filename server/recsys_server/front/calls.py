"""Calls of a gRPC server, taken from a completion queue of gRPC's core.

``grpc.server`` gives each call to a thread and ``grpc.aio`` each to a task and some turns of a loop, which costs four
times what the core takes for a call. The queue is what both stand on; it is not in gRPC's public interface.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import count
from typing import Any

import grpc
from google.rpc import code_pb2, status_pb2
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # its stub names nothing

_NO_FLAGS = 0
_AT_ONCE = 0.0
"""As the time until which the queue waits."""
_NOTHING = cygrpc.CompletionType.queue_timeout
_DETAILS = "grpc-status-details-bin"
_NO_REQUEST = status_pb2.Status(code=code_pb2.UNIMPLEMENTED, message="the call brought no request").SerializeToString()
Came = Callable[[int, int, float, float, bytes], None]
"""Told of a call: its number, the place of its method, when it came and when its client gives up (both on the
monotonic clock; ages away where it allows any time), and the bytes of its request."""


class Calls:
    """Calls of some methods, in which one request is asked and one response answered.

    Args:
        server: made, and not started. All other methods it answers by itself.
        methods: full names, such as ``/recsys.v1.EventService/RecordEvents``.
        came: told of each call, in the thread that runs.
        gone: told the number of a call that nobody waits for any more, in that thread too.
        rested: called there when all that has come is told, before it waits for more.
    """

    def __init__(
        self,
        server: grpc.Server,
        methods: Sequence[str],
        came: Came,
        gone: Callable[[int], None],
        rested: Callable[[], None],
    ) -> None:
        self._core = server._cy_server  # type: ignore[attr-defined]  # noqa: SLF001 - see above
        self._queue = cygrpc.CompletionQueue()
        self._core.register_completion_queue(self._queue)
        for method in methods:
            self._core.register_method(method)
        self._methods = methods
        self._came, self._gone, self._rested = came, gone, rested
        self._numbers = count(1)
        self._waiting: dict[int, Any] = {}
        self._asked = self._inside = 0

    def run(self) -> None:
        """Take calls until the server has stopped, and the last one is answered. It must have been started."""
        for place in range(len(self._methods)):
            self._ask(place)
        poll = self._queue.poll
        while self._asked or self._inside:
            event = poll(_AT_ONCE)
            if event.completion_type == _NOTHING:
                self._rested()
                event = poll()
            event.tag(event)
        self._rested()

    def answer(self, number: int, body: bytes) -> None:
        """Answer a call, in any thread; nothing where nobody waits for it any more.

        Args:
            number: of the call.
            body: the bytes of a response.
        """
        self._end(number, cygrpc.SendMessageOperation(body, _NO_FLAGS), _status(cygrpc.StatusCode.ok))

    def refuse(self, number: int, body: bytes) -> None:
        """Refuse a call, as :meth:`answer`.

        Args:
            number: of the call.
            body: the bytes of a google.rpc.Status.
        """
        self._end(number, _status(*_refusal(body)))

    def _ask(self, place: int) -> None:
        method = self._methods[place]
        try:
            self._core.request_registered_call(self._queue, self._queue, method, partial(self._begun, place))
        except ValueError:  # the server stops
            return
        self._asked += 1

    def _begun(self, place: int, event: Any) -> None:
        self._asked -= 1
        if not event.success:  # the server stops
            return
        self._inside += 1
        since, remaining = time.monotonic(), event.call_details.deadline - time.time()
        self._ask(place)
        number, call = next(self._numbers), event.call
        self._waiting[number] = call
        closed, received = partial(self._closed, number), partial(self._received, number, place, since, remaining)
        call.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),), closed)
        call.start_server_batch((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), received)

    def _received(self, number: int, place: int, since: float, remaining: float, event: Any) -> None:
        request = event.batch_operations[0].message()
        if request is None:
            self.refuse(number, _NO_REQUEST)
        else:
            self._came(number, place, since, since + remaining, request)

    def _closed(self, number: int, event: Any) -> None:
        self._inside -= 1
        if event.batch_operations[0].cancelled() and self._waiting.pop(number, None) is not None:
            self._gone(number)

    def _end(self, number: int, *operations: Any) -> None:
        call = self._waiting.pop(number, None)
        if call is not None:
            call.start_server_batch((cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS), *operations), _ended)


def _status(code: int, message: bytes = b"", trailing: tuple[tuple[str, bytes], ...] | None = None) -> Any:
    return cygrpc.SendStatusFromServerOperation(trailing, code, message, _NO_FLAGS)


@lru_cache(maxsize=64)
def _refusal(body: bytes) -> tuple[int, bytes, tuple[tuple[str, bytes], ...]]:
    """What a google.rpc.Status says: where many calls are refused, they are for the same reason."""
    status = status_pb2.Status.FromString(body)
    return status.code, status.message.encode(), ((_DETAILS, body),)


def _ended(_: Any) -> None:
    pass
