"""What the codecs of all services share: parsing, and the limits that many fields have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from recsys_server.errors import InvalidRequestError, MalformedMessageError, Violation

M = TypeVar("M", bound=Message)


def parsed(message: type[M], data: bytes) -> M:
    """The message of this type in data.

    Raises:
        MalformedMessageError: there is none.
    """
    try:
        return message.FromString(data)
    except DecodeError as error:
        name = message.DESCRIPTOR.full_name
        raise MalformedMessageError(f"the bytes are not a {name}", {"message": name}) from error


def refuse(violations: Iterable[Violation]) -> None:
    """Nothing where there is no violation.

    Raises:
        InvalidRequestError: there is one; names them all.
    """
    if found := tuple(violations):
        raise InvalidRequestError(found)


def too_long(field: str, text: str, limit: int) -> Iterator[Violation]:
    """The violation of a text above its limit in bytes of UTF-8."""
    size = len(text.encode())
    if size > limit:
        yield Violation(field, f"must have at most {limit} bytes, not {size}")


def too_many(field: str, count: int, limit: int) -> Iterator[Violation]:
    """The violation of a list above its limit."""
    if count > limit:
        yield Violation(field, f"must have at most {limit} entries, not {count}")
