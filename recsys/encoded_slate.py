"""Slates as they are sent, written and read again: the items of a RecommendResponse as Protocol Buffers encode them.

A field is a number that tells its own and its kind, then a number, 4 or 8 bytes, or a size and so many bytes. A number
has 7 of its bits in each byte, the lowest first; where the eighth is set, a further byte follows. (protobuf.dev,
Encoding.)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import overload

import numpy as np

from recsys import encoding_kernels
from recsys.kernel import frozen
from recsys.ranked_items import EXPLORED, RankedSlates
from recsys.types import Float32s, Int64s, RuleReason, SlateItem, UInt8s

_ITEMS = 2
_ITEM_ID, _SCORE, _SOURCES, _REASONS, _PROPENSITY = 1, 3, 4, 5, 6
_RULE, _NAME, _EFFECT = 1, 1, 2
_NUMBER, _EIGHT_BYTES, _SIZED = 0, 1, 2
_ONE_BYTE = 127
"""The largest number in one byte."""
_BYTES = tuple(bytes((value,)) for value in range(_ONE_BYTE + 1))
_FLOAT = struct.Struct("<f")


class EncodedItems(Sequence[SlateItem]):
    """The items of a slate in the bytes of a server's answer; they are made of these whenever somebody looks at them.

    Args:
        encoded: the bytes.
        count: how many items they are.
    """

    __slots__ = ("_count", "encoded")

    def __init__(self, encoded: bytes, count: int) -> None:
        self.encoded = encoded
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[SlateItem]:
        return items(self.encoded)

    @overload
    def __getitem__(self, place: int) -> SlateItem: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[SlateItem, ...]: ...
    def __getitem__(self, place: int | slice) -> SlateItem | tuple[SlateItem, ...]:
        return tuple(self)[place]

    def __eq__(self, other: object) -> bool:
        """As a tuple of the same items."""
        return isinstance(other, EncodedItems | tuple) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))


def encoded(
    slates: RankedSlates, rank: Float32s, letters: tuple[UInt8s, UInt8s], sources: tuple[str, ...]
) -> list[EncodedItems]:
    """The items of slates that there is nothing to say of but who proposed them, and which were drawn.

    Args:
        slates: those that lie in arrays; there is nothing of the others.
        rank: float32[c, S], of the candidates.
        letters: of the items' ids.
        sources: the names of the S sources.
    """
    names, lengths, columns = written(sources)
    lying = (slates.starts, slates.position, slates.score, slates.draw, slates.candidates)
    out, begun = encoding_kernels.slates(*lying, rank, *letters, names, lengths, columns, REASON_EXPLORED)
    data, ends, starts = out.tobytes(), begun.tolist(), slates.starts.tolist()
    parts = zip(pairwise(ends), pairwise(starts), strict=True)
    return [EncodedItems(data[begin:end], last - first) for (begin, end), (first, last) in parts]


@lru_cache(maxsize=16)
def written(sources: tuple[str, ...]) -> tuple[UInt8s, Int64s, Int64s]:
    """The sources as an item holds them, in alphabetical order, their lengths and their columns."""
    columns = sorted(range(len(sources)), key=sources.__getitem__)
    parts = [sized(_tag(_SOURCES), sources[column].encode()) for column in columns]
    lengths = [*map(len, parts)]
    chunks = -(-max(lengths, default=0) // encoding_kernels.CHUNK)
    padded = b"".join(part.ljust(chunks * encoding_kernels.CHUNK) for part in parts)
    names = np.frombuffer(padded, dtype=np.uint8).reshape(len(parts), chunks * encoding_kernels.CHUNK)
    return names, frozen(np.array(lengths, dtype=np.int64)), frozen(np.array(columns, dtype=np.int64))


def _tag(field: int) -> bytes:
    """Of a text or a message."""
    return bytes((field << 3 | _SIZED,))


def sized(tag: bytes, value: bytes) -> bytes:
    """A field of a text or a message."""
    return tag + number(len(value)) + value


def number(value: int) -> bytes:
    """A number from 0, without a tag."""
    if value <= _ONE_BYTE:
        return _BYTES[value]
    rest = bytearray()
    while value > _ONE_BYTE:
        rest.append(value & 127 | 128)
        value >>= 7
    rest.append(value)
    return bytes(rest)


def _reason(rule: RuleReason) -> UInt8s:
    """uint8[n]: a rule as an item holds it."""
    told = sized(_tag(_NAME), rule.name.encode()) + sized(_tag(_EFFECT), rule.effect.encode())
    return np.frombuffer(sized(_tag(_REASONS), sized(_tag(_RULE), told)), dtype=np.uint8)


REASON_EXPLORED = _reason(EXPLORED)
"""uint8[e]: that an item was drawn, as it is written."""


def items(slate: bytes) -> Iterator[SlateItem]:
    """The items of a slate, best first, with no other reasons than rules."""
    return (_item(value) for field, value in _fields(slate) if field == _ITEMS)


def item_ids(slate: bytes) -> Iterator[str]:
    """The ids of its items alone."""
    for field, item in _fields(slate):
        if field == _ITEMS:
            yield from (value.decode() for number, value in _fields(item) if number == _ITEM_ID)


def _item(message: bytes) -> SlateItem:
    item_id, score, propensity = "", 0.0, 1.0
    sources, reasons = [], []
    for field, value in _fields(message):
        if field == _ITEM_ID:
            item_id = value.decode()
        elif field == _SOURCES:
            sources.append(value.decode())
        elif field == _REASONS:
            reasons += [_rule(told) for kind, told in _fields(value) if kind == _RULE]
        elif field == _SCORE:
            (score,) = _FLOAT.unpack(value)
        elif field == _PROPENSITY:
            (propensity,) = _FLOAT.unpack(value)
    return SlateItem(item_id, score, tuple(sources), tuple(reasons), propensity)


def _rule(message: bytes) -> RuleReason:
    told = {field: value.decode() for field, value in _fields(message)}
    return RuleReason(told.get(_NAME, ""), told.get(_EFFECT, ""))


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
