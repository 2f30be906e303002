"""Compiled loops that write slates in the encoding of Protocol Buffers, which :mod:`recsys.encoded_slate` explains."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recsys.kernel import inner_kernel, kernel
from recsys.memory_kernels import ask_for
from recsys.types import Float32s, Int32s, Int64s, UInt8s

ITEMS, RANK, SCORE, ITEM_ID, PROPENSITY = 0x12, 0x10, 0x1D, 0x0A, 0x35
"""Tags: of a RecommendResponse the items, of an item the others."""
CHUNK = 16
"""Bytes that are copied at once."""
_OVERHEAD = 30
"""Bytes of an item, at most, besides the texts: of tags, score, propensity, a rank and two sizes."""
_PROPENSITY_SIZE = 5


class _Told(NamedTuple):
    """What slates are made of: the arguments of :func:`slates`."""

    position: Int64s
    score: Float32s
    draw: Float32s
    item_num: Int32s
    rank: Float32s
    first_ids: UInt8s
    later_ids: UInt8s
    names: UInt8s
    lengths: Int64s
    columns: Int64s
    explored: UInt8s


@kernel
def slates(
    starts: Int64s,
    position: Int64s,
    score: Float32s,
    draw: Float32s,
    item_num: Int32s,
    rank: Float32s,
    first_ids: UInt8s,
    later_ids: UInt8s,
    names: UInt8s,
    lengths: Int64s,
    columns: Int64s,
    explored: UInt8s,
) -> tuple[UInt8s, Int64s]:
    """The items of some slates, and where each slate starts: uint8[bytes], int64[q + 1].

    Args:
        starts: int64[q + 1], of the slates' items, best first.
        position: int64[n], their rows among the candidates.
        score: float32[n].
        draw: float32[n], the probability with which each was drawn; 0 where it was not.
        item_num: int32[c], of the candidates.
        rank: float32[c, S], of the candidates, NaN where a source did not propose one.
        first_ids: uint8[m, w], the ids of the first m items, with zeros behind.
        later_ids: uint8[l, v], those of the items behind them.
        names: uint8[S, b], the sources as an item holds them, each with its tag and size, in the order to
            write them, with anything behind; b is a multiple of CHUNK.
        lengths: int64[S], of these names.
        columns: int64[S], of the sources in this order.
        explored: uint8[e], the reason of what was drawn, with its tag and size.
    """
    widest = _OVERHEAD + max(first_ids.shape[1], later_ids.shape[1]) + np.sum(lengths) + len(explored)
    out = np.empty(len(score) * widest + names.shape[1], dtype=np.uint8)
    begun = np.zeros(len(starts), dtype=np.int64)
    for place in range(len(position)):
        num = item_num[position[place]]
        if num < len(first_ids):
            ask_for(first_ids, num * first_ids.shape[1], (num + 1) * first_ids.shape[1])
    told = _Told(position, score, draw, item_num, rank, first_ids, later_ids, names, lengths, columns, explored)
    _put_slates(out, begun, starts, told)
    return out[: begun[-1]], begun


@inner_kernel
def _put_slates(out: UInt8s, begun: Int64s, starts: Int64s, told: _Told) -> None:
    """Write the slates, and where each begins."""
    for slate in range(len(starts) - 1):
        at = begun[slate]
        for place in range(starts[slate], starts[slate + 1]):
            at = _put_item(out, at, place - starts[slate] + 1, place, told)
        begun[slate + 1] = at


@inner_kernel
def _put_item(out: UInt8s, at: int, rank: int, place: int, told: _Told) -> int:
    """Write an item; the place behind.

    Args:
        out: to write in.
        at: the place.
        rank: from 1.
        place: of the item, among all.
        told: what there is to write.
    """
    row, draw = told.position[place], told.draw[place]
    num, first, lengths = told.item_num[row], told.first_ids, told.lengths
    letters = first[num] if num < len(first) else told.later_ids[num - len(first)]
    length, size = _length(letters), 0
    for name in range(np.uint64(len(lengths))):
        size += lengths[name] * np.isfinite(told.rank[row, told.columns[name]])
    if draw > 0:
        size += len(told.explored) + _PROPENSITY_SIZE * (draw < 1)
    at = _put_head(out, at, rank, told.score[place], length, size)
    for byte in range(length):
        out[at + byte] = letters[byte]
    at += length
    for name in range(np.uint64(len(lengths))):
        if np.isfinite(told.rank[row, told.columns[name]]):
            _copy_chunks(out, at, told.names[name])
            at += lengths[name]
    return _put_draw(out, at, told.explored, draw) if draw > 0 else at


@inner_kernel
def _put_head(out: UInt8s, at: int, rank: int, score: float, length: int, sources: int) -> int:
    """Write what of an item comes before the text of its id; the place behind.

    Args:
        out: to write in.
        at: the place.
        rank: from 1.
        score: float32.
        length: bytes of the id.
        sources: bytes of the sources and what comes behind.
    """
    out[at] = ITEMS
    at = _put(out, at + 1, 7 + _width(rank) + _width(length) + length + sources)
    out[at] = RANK
    at = _put(out, at + 1, rank)
    at = _put_float(out, at, SCORE, score)
    out[at] = ITEM_ID
    return _put(out, at + 1, length)


@inner_kernel
def _put_draw(out: UInt8s, at: int, explored: UInt8s, propensity: float) -> int:
    """Write the reason of what was drawn, and the probability if it is no certainty; the place behind."""
    for byte in range(len(explored)):
        out[at + byte] = explored[byte]
    at += len(explored)
    return _put_float(out, at, PROPENSITY, propensity) if propensity < 1 else at


@inner_kernel
def _put_float(out: UInt8s, at: int, tag: int, value: float) -> int:
    """Write a float32; the place behind."""
    out[at] = tag
    word = np.float32(value).view(np.uint32)
    for byte in range(4):
        out[at + 1 + byte] = word >> np.uint32(8 * byte) & np.uint32(255)
    return at + 5


@inner_kernel
def _length(letters: UInt8s) -> int:
    """Bytes without the zeros behind."""
    length = len(letters)
    while length > 0 and letters[length - 1] == 0:
        length -= 1
    return length


@inner_kernel
def _copy_chunks(out: UInt8s, at: int, source: UInt8s) -> None:
    """Write some chunks of bytes, each of which is one instruction; what comes next overwrites what is too much."""
    for chunk in range(0, len(source), CHUNK):
        for byte in range(CHUNK):
            out[at + chunk + byte] = source[chunk + byte]


@inner_kernel
def _width(number: int) -> int:
    """Bytes of a number."""
    width = 1
    while number > 127:
        number >>= 7
        width += 1
    return width


@inner_kernel
def _put(out: UInt8s, at: int, number: int) -> int:
    """Write a number; the place behind."""
    while number > 127:
        out[at] = (number & 127) | 128
        number >>= 7
        at += 1
    out[at] = number
    return at + 1
