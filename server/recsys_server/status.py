"""The one table from errors to ``google.rpc.Status``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from recsys.v1 import error_reason_pb2
from recsys_server.errors import (
    DeadlineError,
    DrainingError,
    InvalidRequestError,
    MalformedMessageError,
    NoBundleError,
    NoStateError,
    NoTimeError,
    OverloadedError,
    RequestError,
    StorageError,
)

DOMAIN = "recsys.v1"
MOST_BYTES = 8_600
"""Of a message and a status, which go in trailers, the status in base 64: clients take some 8 KiB of those."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How one kind of error looks to a client; retry_seconds where trying again helps."""

    code: int
    reason: error_reason_pb2.ErrorReason
    retry_seconds: float | None = None


TABLE: dict[type[Exception], Rule] = {
    InvalidRequestError: Rule(code_pb2.INVALID_ARGUMENT, error_reason_pb2.ERROR_REASON_INVALID_REQUEST),
    MalformedMessageError: Rule(code_pb2.INVALID_ARGUMENT, error_reason_pb2.ERROR_REASON_MALFORMED_MESSAGE),
    NoBundleError: Rule(code_pb2.UNAVAILABLE, error_reason_pb2.ERROR_REASON_NO_BUNDLE, 5.0),
    DrainingError: Rule(code_pb2.UNAVAILABLE, error_reason_pb2.ERROR_REASON_DRAINING, 0.0),
    OverloadedError: Rule(code_pb2.RESOURCE_EXHAUSTED, error_reason_pb2.ERROR_REASON_OVERLOADED, 1.0),
    NoTimeError: Rule(code_pb2.RESOURCE_EXHAUSTED, error_reason_pb2.ERROR_REASON_OVERLOADED, 1.0),
    NoStateError: Rule(code_pb2.FAILED_PRECONDITION, error_reason_pb2.ERROR_REASON_NO_STATE),
    StorageError: Rule(code_pb2.UNAVAILABLE, error_reason_pb2.ERROR_REASON_STORAGE, 1.0),
    DeadlineError: Rule(code_pb2.DEADLINE_EXCEEDED, error_reason_pb2.ERROR_REASON_DEADLINE_EXCEEDED),
}
_MANY = frozenset({OverloadedError, NoTimeError})
_DEFECT = Rule(code_pb2.INTERNAL, error_reason_pb2.ERROR_REASON_INTERNAL)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a call is aborted with: the name of a code, and the bytes of a google.rpc.Status."""

    code: str
    status: bytes


def is_defect(error: Exception) -> bool:
    """Whether an error is ours, rather than the answer to something a client or an operator did."""
    return type(error) not in TABLE


def refusal(error: Exception, request_id: str = "") -> Refusal:
    """The status that tells a client of an error; of a defect it tells nothing but the id to look for in the log."""
    rule = TABLE.get(type(error), _DEFECT)
    if type(error) in _MANY:
        return _same(rule, str(error))
    if isinstance(error, RequestError):
        message, metadata = str(error), error.metadata
    else:
        message, metadata = f"defect of the server, see request {request_id} in its log", {"request_id": request_id}
    details = [_error_info(rule.reason, metadata)]
    if rule.retry_seconds is not None:
        details.append(_retry_info(rule.retry_seconds))
    if isinstance(error, InvalidRequestError):
        details.append(_bad_request(error))
    made = _refusal(rule.code, message, details)
    size = len(message.encode()) + len(made.status) * 4 // 3
    if size > MOST_BYTES and isinstance(error, InvalidRequestError) and len(error.violations) > 1:
        return refusal(error.shortened())
    return made


@lru_cache(maxsize=16)
def _same(rule: Rule, message: str) -> Refusal:
    """A refusal without details of its own: a server that has no time left must not spend it on refusing."""
    return _refusal(rule.code, message, [_error_info(rule.reason, {}), _retry_info(rule.retry_seconds or 0.0)])


def _error_info(reason: error_reason_pb2.ErrorReason, metadata: dict[str, str]) -> Message:
    name = error_reason_pb2.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")
    info: Message = error_details_pb2.ErrorInfo(reason=name, domain=DOMAIN, metadata=metadata)
    return info


def _retry_info(seconds: float) -> Message:
    delay = duration_pb2.Duration()
    delay.FromNanoseconds(int(seconds * 1e9))
    info: Message = error_details_pb2.RetryInfo(retry_delay=delay)
    return info


def _bad_request(error: InvalidRequestError) -> Message:
    violation = error_details_pb2.BadRequest.FieldViolation
    info: Message = error_details_pb2.BadRequest(
        field_violations=[violation(field=wrong.field, description=wrong.description) for wrong in error.violations]
    )
    return info


def _refusal(code: int, message: str, details: Sequence[Message]) -> Refusal:
    status = status_pb2.Status(code=code, message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return Refusal(code_pb2.Code.Name(code), status.SerializeToString())
