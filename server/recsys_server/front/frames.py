"""Frames: what the two processes of a server tell each other over a socket.

A frame is a head (size of the body, kind, number) and a body. It never leaves the machine, nor a pair of processes of
one version, so that its form may change with any release.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from enum import IntEnum
from functools import partial
from typing import cast

_HEAD = struct.Struct("<IBQ")
_CALL = struct.Struct("<Bdd")


class Kind(IntEnum):
    """What a frame says. The number is that of a call, if nothing else is told."""

    LISTENING = 1
    """From the front: it serves on the port that is the number; 0: it cannot."""
    CALL = 2
    """From the front: a request (:class:`Call`)."""
    GONE = 3
    """From the front: nobody waits for the answer any more."""
    ANSWER = 4
    """To the front: the bytes of a response."""
    REFUSAL = 5
    """To the front: the bytes of a google.rpc.Status."""
    HEALTH = 6
    """To the front: 1 as number: all services serve; 0: none does."""
    STOP = 7
    """To the front: take no calls any more, and end with the last, or in so many milliseconds as the number says."""


Call = tuple[int, float, float, bytes]
"""A request: the place of its method in :data:`recsys_server.front.methods.METHODS`, when it came and when its client
gives up, both on the machine's monotonic clock (ages away where it allows any time), and its bytes."""


def packed(call: Call) -> bytes:
    """The body of a frame that is a call."""
    return _CALL.pack(*call[:-1]) + call[-1]


def call_of(body: bytes) -> Call:
    """The call that is the body of a frame."""
    return *_CALL.unpack_from(body), body[_CALL.size :]


Told = Callable[[int, bytes], None]
"""Called with the number and the body of a frame."""


def framed(kind: Kind, number: int, body: bytes = b"") -> bytes:
    """A frame."""
    return _HEAD.pack(len(body), kind, number) + body


class Cutter:
    """Makes frames of what a socket brings, however it cuts them.

    Args:
        told: of the frames that come, by their kind.
    """

    def __init__(self, told: Mapping[Kind, Told]) -> None:
        self._told = {int(kind): one for kind, one in told.items()}
        self._rest = b""

    def take(self, data: bytes) -> None:
        """Tell of every frame that is whole."""
        data, at = self._rest + data, 0
        while len(data) - at >= _HEAD.size:
            size, kind, number = _HEAD.unpack_from(data, at)
            begin = at + _HEAD.size
            if len(data) - begin < size:
                break
            at = begin + size
            self._told[kind](number, data[begin:at])
        self._rest = data[at:]


class Frames(asyncio.Protocol):
    """One end of the socket, on an event loop.

    Args:
        told: of the frames that come, by their kind.
        lost: called once, when the other end has gone.
    """

    def __init__(self, told: Mapping[Kind, Told], lost: Callable[[], None]) -> None:
        self._cutter = Cutter(told)
        self._lost = lost
        self._gathered: list[bytes] | None = None
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket can be written to."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Tell of every frame that is whole."""
        self.together(partial(self._cutter.take, data))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - whatever it was, the other end has gone
        """No frame comes any more, and none can be sent."""
        self._transport = None
        self._lost()

    def send(self, kind: Kind, number: int, body: bytes = b"") -> None:
        """Send a frame; nothing where the other end has gone."""
        if self._gathered is not None:
            self._gathered += (_HEAD.pack(len(body), kind, number), body)
        elif self._transport is not None:
            self._transport.write(framed(kind, number, body))

    def together(self, call: Callable[[], None]) -> None:
        """Call something, and send the frames that it sends as one: each write is a call of the system."""
        gathered: list[bytes] = []
        self._gathered = gathered
        try:
            call()
        finally:
            self._gathered = None
            if gathered and self._transport is not None:
                self._transport.write(b"".join(gathered))

    def close(self) -> None:
        """Close this end, after what has been sent."""
        if self._transport is not None:
            self._transport.close()
