"""Errors of the server; ``status.py`` translates those of a request for the client.

RecsysError                 the server cannot start; one line for the operator
├── AddressError            an address cannot be listened on
├── FrontError              the process that speaks gRPC does not start
└── WorkerError             the system allows no further process
RequestError                one request is refused
├── MalformedMessageError   the bytes are not a message of the method's type
├── InvalidRequestError     fields are outside their limits
├── NoBundleError           no bundle is loaded yet
├── DrainingError           the server is shutting down
├── OverloadedError         too many requests wait
├── NoTimeError             the answer cannot be ready in the time that the client allows
├── NoStateError            the server runs without a state directory
├── StorageError            the state directory cannot be written or read
└── DeadlineError           the deadline passed before the answer was ready
EngineError                 the engine failed at one query, a defect: the popular slate stands in
"""

from __future__ import annotations

from dataclasses import dataclass

from recsys.errors import RecsysError


class AddressError(RecsysError):
    """An address cannot be listened on."""


class FrontError(RecsysError):
    """The process that speaks gRPC does not start."""


class WorkerError(RecsysError):
    """The system allows no further process."""


class RequestError(Exception):
    """Base of the reasons to refuse one request. ``metadata`` holds every value that its message names."""

    def __init__(self, message: str, metadata: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.metadata = metadata or {}


class MalformedMessageError(RequestError):
    """The bytes are not a message of the method's type."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A field outside its limits, by its path such as ``variant_overrides[2].variant``, and what is wrong with it."""

    field: str
    description: str


class InvalidRequestError(RequestError):
    """Fields are outside their limits.

    Args:
        violations: every one, at least one.
        further: violations that are not told.
    """

    def __init__(self, violations: tuple[Violation, ...], further: int = 0) -> None:
        fields = ", ".join(violation.field for violation in violations)
        more = f" and {further} more" if further else ""
        metadata = {"fields": fields} | ({"further": str(further)} if further else {})
        super().__init__(f"outside their limits: {fields}{more}", metadata)
        self.violations = violations
        self.further = further

    def shortened(self) -> InvalidRequestError:
        """The same with the first half of the violations."""
        kept = max(len(self.violations) // 2, 1)
        return InvalidRequestError(self.violations[:kept], self.further + len(self.violations) - kept)


class NoBundleError(RequestError):
    """No bundle is loaded yet."""


class DrainingError(RequestError):
    """The server is shutting down."""


class OverloadedError(RequestError):
    """Too many requests wait."""


class NoTimeError(RequestError):
    """The answer cannot be ready in the time that the client allows."""


class NoStateError(RequestError):
    """The server runs without a state directory."""


class StorageError(RequestError):
    """The state directory cannot be written or read."""


class DeadlineError(RequestError):
    """The deadline passed before the answer was ready."""


class EngineError(Exception):
    """The engine failed at one query: a defect, logged where it happened."""
