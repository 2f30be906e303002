"""As much of HPACK (RFC 7541) as calls to a gRPC server need, headers of calls being always the same few."""

from __future__ import annotations

from collections.abc import Mapping

Header = tuple[bytes, bytes]

STATIC_ENTRIES = 61
_STATIC: dict[Header, int] = {(b":method", b"POST"): 3, (b":scheme", b"http"): 6}


class Encoder:
    """Header blocks of one connection: what was said once is a byte from then on."""

    __slots__ = ("_blocks", "_said")

    def __init__(self) -> None:
        self._said: dict[Header, int] = {}
        self._blocks: dict[tuple[Header, ...], bytes] = {}

    def block(self, headers: tuple[Header, ...]) -> bytes:
        """The block of these headers, all of which fit into the table together."""
        block = self._blocks.get(headers)
        if block is None:
            said = len(self._said)
            block = b"".join(map(self._field, headers))
            if len(self._said) == said:
                self._blocks[headers] = block
            else:  # which count from the newest
                self._blocks.clear()
        return block

    def _field(self, header: Header) -> bytes:
        if (index := _STATIC.get(header)) is not None:
            return bytes((0x80 | index,))
        if (number := self._said.get(header)) is not None:
            return bytes((0x80 | STATIC_ENTRIES + len(self._said) - number,))
        self._said[header] = len(self._said)
        return b"\x40" + b"".join(bytes((len(text),)) + text for text in header)


class Decoder:
    """Header blocks of one connection; a text in Huffman's code stays so, as no status is.

    What falls out of the server's table is kept: nothing refers to it any more, and it is little.
    """

    __slots__ = ("_blocks", "_table")

    def __init__(self) -> None:
        self._table: list[Header] = []
        self._blocks: dict[bytes, dict[bytes, bytes]] = {}

    def headers(self, block: bytes) -> Mapping[bytes, bytes]:
        """The headers of a block, without those of the static table."""
        headers = self._blocks.get(block)
        if headers is None:
            known = len(self._table)
            headers = self._decoded(block)
            if len(self._table) == known:
                self._blocks[block] = headers
            else:  # from which entries are counted
                self._blocks.clear()
        return headers

    def _decoded(self, block: bytes) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        at = 0
        while at < len(block):
            first = block[at]
            if first & 0x80:
                index, at = _integer(block, at, 7)
                found.update([self._entry(index)])
            elif first & 0xE0 == 0x20:  # the table's new size, which never passes the one it starts with
                _, at = _integer(block, at, 5)
            else:
                kept = bool(first & 0x40)
                header, at = self._literal(block, at, 6 if kept else 4)
                found.update([header])
                if kept:
                    self._table.insert(0, header)
        return found

    def _literal(self, block: bytes, at: int, bits: int) -> tuple[Header, int]:
        index, at = _integer(block, at, bits)
        if index:
            name = self._entry(index)[0]
        else:
            name, at = _text(block, at)
        value, at = _text(block, at)
        return (name, value), at

    def _entry(self, index: int) -> Header:
        return self._table[index - STATIC_ENTRIES - 1] if index > STATIC_ENTRIES else (b"", b"")


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """The integer with a prefix of some bits, and where what follows begins: RFC 7541, section 5.1."""
    most = (1 << bits) - 1
    value = block[at] & most
    at += 1
    if value < most:
        return value, at
    shift = 0
    while True:
        byte = block[at]
        value += (byte & 0x7F) << shift
        at += 1
        shift += 7
        if not byte & 0x80:
            return value, at


def _text(block: bytes, at: int) -> tuple[bytes, int]:
    length, at = _integer(block, at, 7)
    return block[at : at + length], at + length
