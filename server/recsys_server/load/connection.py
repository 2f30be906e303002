"""Calls over one HTTP/2 connection, at a fifth of what a gRPC channel costs: bytes in, bytes out."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from typing import cast

from recsys_server.load.hpack import Decoder, Encoder, Header

DATA, HEADERS, RESET, SETTINGS, PING, WINDOW = 0, 1, 3, 4, 6, 8
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
LOST = "CONNECTION_LOST"
CODES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FIRST_WINDOW = 65_535
_LARGEST_WINDOW = 2**31 - 1
_HEAD = struct.Struct(">BHBBI")
_PREFIX_BYTES = 5
_ROOM = 1 << 18
"""Bytes that are received at once, at most; more than a frame may have, as nobody asks for larger ones than usual."""

Done = Callable[[int, str, bytes], None]
"""Told of each call: its number, its status code, and the message that came back."""


class Connection(asyncio.BufferedProtocol):
    """One connection to a gRPC server, over which any number of unary calls go at once.

    Args:
        authority: of the server, host:port.
        done: told of each call that ended.
    """

    def __init__(self, authority: str, done: Done) -> None:
        self._authority = authority.encode()
        self._done = done
        self._encoder, self._decoder = Encoder(), Decoder()
        self._room = memoryview(bytearray(_ROOM))
        self._filled = 0
        self._bodies: dict[int, bytes] = {}
        self._calls: dict[int, int] = {}
        self._held: deque[tuple[int, bytes, bytes, bytes]] = deque()
        self._next_stream = 1
        self._window = _FIRST_WINDOW
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, and let the server send as much as it likes."""
        self._transport = cast(asyncio.Transport, transport)
        more = struct.pack(">I", _LARGEST_WINDOW - _FIRST_WINDOW)
        self._transport.write(_PREFACE + _frame(SETTINGS, 0, 0, b"") + _frame(WINDOW, 0, 0, more))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - whatever ended it
        """Every call that was under way is lost."""
        self._transport = None
        for number in [*self._calls.values(), *(held[0] for held in self._held)]:
            self._done(number, LOST, b"")
        self._calls.clear()
        self._held.clear()

    def close(self) -> None:
        """End it, and with it what is under way."""
        if self._transport is not None:
            self._transport.close()

    def send(self, number: int, path: bytes, timeout: bytes, message: bytes) -> None:
        """Make a call.

        Args:
            number: names the call.
            path: of the method, such as ``/package.Service/Method``.
            timeout: as gRPC writes it, such as ``200m``.
            message: the request.
        """
        if self._transport is None:
            self._done(number, LOST, b"")
        elif self._window < len(message) + _PREFIX_BYTES:
            self._held.append((number, path, timeout, message))
        else:
            self._window -= len(message) + _PREFIX_BYTES
            stream, self._next_stream = self._next_stream, self._next_stream + 2
            self._calls[stream] = number
            block = self._encoder.block(self._headers(path, timeout))
            body = b"\0" + len(message).to_bytes(4) + message
            self._transport.write(_frame(HEADERS, END_HEADERS, stream, block) + _frame(DATA, END_STREAM, stream, body))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio knows nothing of frames
        """Where bytes are received, behind those of a frame that is not whole."""
        return self._room[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take every whole frame."""
        room, at, filled = self._room, 0, self._filled + nbytes
        while filled - at >= _HEAD.size:
            high, low, kind, flags, stream = _HEAD.unpack_from(room, at)
            begin = at + _HEAD.size
            stop = begin + (high << 16 | low)
            if stop > filled:
                break
            self._frame(kind, flags, stream & _LARGEST_WINDOW, bytes(room[begin:stop]))
            at = stop
        room[: filled - at] = bytes(room[at:filled])
        self._filled = filled - at

    def _headers(self, path: bytes, timeout: bytes) -> tuple[Header, ...]:
        return (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path),
            (b":authority", self._authority),
            (b"grpc-timeout", timeout),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"user-agent", b"recsys-load"),
        )

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            self._bodies[stream] = self._bodies.get(stream, b"") + payload
        elif kind == HEADERS:
            status = self._decoder.headers(payload).get(b"grpc-status", b"")
            if flags & END_STREAM:
                self._end(stream, CODES[int(status)] if status.isdigit() else f"STATUS {status!r}")
        elif kind == RESET:
            self._end(stream, f"RESET {int.from_bytes(payload)}")
        elif kind in {SETTINGS, PING} and not flags & ACK:
            self._reply(_frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind == WINDOW and stream == 0:
            self._window += int.from_bytes(payload)
            held, self._held = self._held, deque()
            for call in held:
                self.send(*call)

    def _end(self, stream: int, code: str) -> None:
        body = self._bodies.pop(stream, b"")
        number = self._calls.pop(stream, None)
        if number is not None:
            self._done(number, code, body[_PREFIX_BYTES:])

    def _reply(self, frame: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frame)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _HEAD.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload
