"""Writing of events: off the event loop, and all calls that wait as one transaction."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from recsys.errors import StateError
from recsys.event_log import Appended, EventLog, LoggedEvent
from recsys_server.errors import DeadlineError, OverloadedError, StorageError

PAUSE_SECONDS = 0.05
"""Between the starts of two transactions, as each takes the interpreter's lock from who serves a few times;"""
ENOUGH = 100
"""events that wait are reason enough for one at once, and so is"""
HASTE = 2
"""a client who waits less than so many times that long."""
MOST_TOGETHER = 5_000
"""Events of one transaction, beyond which a further call waits for the next one."""
_log = logging.getLogger(__name__)
_Accepted = list[bool]
_Call = tuple[Sequence[LoggedEvent], asyncio.Future[_Accepted]]


class Recorder:
    """Appends the events of many calls to a log.

    While one transaction is on its way to the disk, and for a moment after, the next one gathers. Who comes after a
    pause waits for nothing.

    Args:
        log: this object alone uses it.
        max_waiting: calls.
        told: of events that are on disk, before those who sent them.
    """

    def __init__(
        self, log: EventLog, max_waiting: int, told: Callable[[Sequence[LoggedEvent], Sequence[Appended]], None]
    ) -> None:
        self._log = log
        self._max_waiting = max_waiting
        self._told = told
        self._waiting: list[_Call] = []
        self._size = 0
        self._thread = ThreadPoolExecutor(1, "events")
        self._writing: asyncio.Task[None] | None = None
        self._next_at = 0.0
        self._enough = asyncio.Event()

    async def record(self, events: Sequence[LoggedEvent], deadline: float) -> list[bool]:
        """Store events; whether each is new. When it returns they are on disk.

        Args:
            events: in any order.
            deadline: monotonic seconds; what is late may be stored all the same.

        Raises:
            OverloadedError: too many calls wait.
            DeadlineError: the disk did not answer in time.
            StorageError: the log cannot be written; nothing was stored.
        """
        if not events:
            return []
        if len(self._waiting) >= self._max_waiting:
            raise OverloadedError("too many calls wait for the disk; try again later")
        done: asyncio.Future[_Accepted] = asyncio.get_running_loop().create_future()
        self._waiting.append((events, done))
        self._size += len(events)
        if self._size >= ENOUGH or deadline - asyncio.get_running_loop().time() < HASTE * PAUSE_SECONDS:
            self._enough.set()
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())
        try:
            await asyncio.wait([done], timeout=deadline - asyncio.get_running_loop().time())
            if not done.done():
                raise DeadlineError("the events were not on disk in time; send them again")
            return done.result()
        finally:
            done.cancel()  # nobody will ask it any more

    async def close(self) -> None:
        """Write what waits, and let go of the log."""
        if self._writing is not None:
            await self._writing
        self._thread.shutdown()
        self._log.close()

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            await self._gathered(self._next_at - loop.time())
            self._next_at = loop.time() + PAUSE_SECONDS
            calls = self._next_calls()
            together = [event for events, _ in calls for event in events]
            try:
                appended = await loop.run_in_executor(self._thread, self._log.append, together)
                self._told(together, appended)
            except StateError as error:
                _log.error("events were not stored: %s", error)  # a disk's error has no trace
                _fail(calls, StorageError(f"nothing was stored: {error}"))
            except Exception as error:  # noqa: BLE001 - whatever it is, the calls must end
                _fail(calls, error)
            else:
                _answer(calls, [one.is_new for one in appended])

    async def _gathered(self, seconds: float) -> None:
        """Wait so long, or until enough wait."""
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                await self._enough.wait()
        except TimeoutError:
            pass

    def _next_calls(self) -> list[_Call]:
        """The calls of one transaction, which wait no longer: at least one."""
        size = count = 0
        while count < len(self._waiting) and (count == 0 or size < MOST_TOGETHER):
            size += len(self._waiting[count][0])
            count += 1
        calls, self._waiting = self._waiting[:count], self._waiting[count:]
        self._size -= size
        if self._size < ENOUGH:
            self._enough.clear()
        return calls


def _answer(calls: list[_Call], accepted: list[bool]) -> None:
    start = 0
    for events, done in calls:
        if not done.done():  # else its client has gone
            done.set_result(accepted[start : start + len(events)])
        start += len(events)


def _fail(calls: list[_Call], error: Exception) -> None:
    for _, done in calls:
        if not done.done():
            done.set_exception(error)
