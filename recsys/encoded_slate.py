"""Slates as they were sent, read again: the items of a RecommendResponse in the encoding of Protocol Buffers.

A field is a number that tells its own and its kind, then a number, 4 or 8 bytes, or a size and so many bytes. A number
has 7 of its bits in each byte, the lowest first; where the eighth is set, a further byte follows. (protobuf.dev,
Encoding.)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from recsys.types import SlateItem

_ITEMS = 2
_ITEM_ID, _SCORE, _SOURCES, _PROPENSITY = 1, 3, 4, 6
_NUMBER, _EIGHT_BYTES, _SIZED = 0, 1, 2
_FLOAT = struct.Struct("<f")


def items(slate: bytes) -> Iterator[SlateItem]:
    """The items of a slate, best first, without reasons."""
    return (_item(value) for field, value in _fields(slate) if field == _ITEMS)


def item_ids(slate: bytes) -> Iterator[str]:
    """The ids of its items alone."""
    for field, item in _fields(slate):
        if field == _ITEMS:
            yield from (value.decode() for number, value in _fields(item) if number == _ITEM_ID)


def _item(message: bytes) -> SlateItem:
    item_id, score, propensity = "", 0.0, 1.0
    sources = []
    for field, value in _fields(message):
        if field == _ITEM_ID:
            item_id = value.decode()
        elif field == _SOURCES:
            sources.append(value.decode())
        elif field == _SCORE:
            (score,) = _FLOAT.unpack(value)
        elif field == _PROPENSITY:
            (propensity,) = _FLOAT.unpack(value)
    return SlateItem(item_id, score, tuple(sources), propensity=propensity)


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a message that are no numbers, by their own number."""
    at = 0
    while at < len(message):
        tag, at = _number(message, at)
        kind = tag & 7
        if kind == _NUMBER:
            _, at = _number(message, at)
            continue
        size = 8 if kind == _EIGHT_BYTES else 4
        if kind == _SIZED:
            size, at = _number(message, at)
        yield tag >> 3, message[at : at + size]
        at += size


def _number(message: bytes, at: int) -> tuple[int, int]:
    """The number that begins at a place, and where it ends."""
    number = message[at] & 127
    bits = 7
    while message[at] > 127:
        at += 1
        number |= (message[at] & 127) << bits
        bits += 7
    return number, at + 1
