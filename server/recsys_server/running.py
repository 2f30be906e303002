"""Calls that go on the moment that what they wait for is there.

A task of asyncio goes on a turn of its loop later, and with every turn the system is asked what has come: a call that
was alone took three of them more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class PromptFuture(asyncio.Future[T]):
    """A future that a :class:`Running` hears of inside ``set_result``; to tasks and all others it is one as any other.

    Args:
        loop: on which everything happens.
    """

    __slots__ = ("heard",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.heard: Callable[[], None] = _by_nobody

    def set_result(self, result: T, /) -> None:
        """It is there."""
        super().set_result(result)
        self.heard()

    def set_exception(self, exception: type[BaseException] | BaseException, /) -> None:
        """It will not come."""
        super().set_exception(exception)
        self.heard()

    def cancel(self, msg: Any = None) -> bool:
        """Nobody wants it any more; whether that is news."""
        cancelled = super().cancel(msg)
        if cancelled:
            self.heard()
        return cancelled


class Running(Generic[T]):
    """A coroutine on its way, which begins at once.

    It is no task: what needs to know its task, as ``asyncio.timeout`` does, cannot be used in it.

    Args:
        coroutine: may wait for futures.
        ended: called once with what it returned, or with the error that ended it.
    """

    __slots__ = ("_coroutine", "_ended", "_waits_for")

    def __init__(
        self,
        coroutine: Coroutine[asyncio.Future[Any], None, T],
        ended: Callable[[T | Exception | asyncio.CancelledError], None],
    ) -> None:
        self._coroutine = coroutine
        self._ended = ended
        self._waits_for: asyncio.Future[Any] | None = None
        self._go_on()

    @property
    def waits(self) -> bool:
        """Whether it has not ended yet."""
        return self._waits_for is not None

    def cancel(self) -> None:
        """End it where it waits, as if what it waits for had been cancelled."""
        if self._waits_for is not None:
            self._waits_for.cancel()

    def _go_on(self, _: object = None) -> None:
        self._waits_for = None
        try:
            self._waits_for = waits_for = self._coroutine.send(None)
            if isinstance(waits_for, PromptFuture):
                waits_for.heard = self._go_on
            else:
                waits_for._asyncio_future_blocking = False  # noqa: SLF001 - as a task does: others may wait for it too
                waits_for.add_done_callback(self._go_on)
        except StopIteration as returned:
            self._end(returned.value)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is told
            self._end(error)

    def _end(self, outcome: T | Exception | asyncio.CancelledError) -> None:
        try:
            self._ended(outcome)
        except Exception as error:  # noqa: BLE001 - whoever brings its result brings that of others next
            failed = {"message": "a call could not be ended", "exception": error}
            asyncio.get_running_loop().call_exception_handler(failed)


def _by_nobody() -> None:
    pass
