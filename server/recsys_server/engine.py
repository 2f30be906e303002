"""One thread that answers queries: it takes whatever waits as one batch."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Literal

from recsys.recommender import Recommender
from recsys.types import Answer, Query, Slate
from recsys_server.errors import DeadlineError, DrainingError, EngineError, OverloadedError

_QUIET_SECONDS = 60.0
_CLOSE_SECONDS = 5.0
_log = logging.getLogger(__name__)
Method = Literal["answer", "similar", "rank_items"]
"""Of a recommender: what is asked of it."""


@dataclass(frozen=True, slots=True)
class Computed:
    """A slate, and the seconds of each stage of the batch it was computed in."""

    slate: Slate
    stage_seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    recommender: Recommender
    method: Method
    query: Query
    deadline: float
    since: float
    future: asyncio.Future[Computed]


@dataclass(frozen=True, slots=True)
class _Batch:
    """What came of queries that were answered together: one Computed or error for each."""

    waiting: Sequence[_Waiting]
    outcomes: Sequence[Computed | Exception]
    stage_seconds: Mapping[str, float]


class Engine:
    """Computes slates in the order of their requests. There is no timer: an idle engine takes a batch of one at once.

    To be made and used on one event loop.

    Args:
        max_batch: queries answered together, at most.
        max_waiting: queries that may wait; further ones are refused.
        observe: called on the loop with the seconds of each stage of each batch.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        max_batch: int,
        max_waiting: int,
        observe: Callable[[Mapping[str, float]], None],
        clock: Callable[[], float],
    ) -> None:
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._observe = observe
        self._clock = clock
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._quiet_until = -math.inf
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    async def answer(
        self, recommender: Recommender, query: Query, deadline: float, method: Method = "answer"
    ) -> Computed:
        """The slate of one query.

        Args:
            recommender: answers it.
            query: to be answered together with others that wait for the same.
            deadline: on the engine's clock; a query that still waits then is not computed.
            method: of the recommender.

        Raises:
            OverloadedError: too many wait.
            DeadlineError: the deadline passed while it waited.
            DrainingError: the engine is closed.
            EngineError: the recommender failed.
        """
        if self._closed:
            raise _draining()
        if self._queue.qsize() >= self._max_waiting:
            raise OverloadedError("too many requests wait; try again later")
        future: asyncio.Future[Computed] = self._loop.create_future()
        self._queue.put(_Waiting(recommender, method, query, deadline, self._clock(), future))
        return await future

    async def close(self) -> None:
        """Refuse what waits, finish what is computed, and end the thread."""
        self._closed = True
        for waiting in self._take(self._queue.qsize()):
            if waiting is not None and not waiting.future.done():
                waiting.future.set_exception(_draining())
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, _CLOSE_SECONDS)

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            for waiting in self._take(self._max_batch - 1):
                if waiting is None:
                    self._queue.put(None)  # for the next turn
                    break
                batch.append(waiting)
            self._loop.call_soon_threadsafe(self._deliver, self._compute(batch))

    def _take(self, count: int) -> Iterator[_Waiting | None]:
        for _ in range(count):
            try:
                yield self._queue.get_nowait()
            except Empty:
                return

    def _compute(self, taken: list[_Waiting]) -> list[_Batch]:
        now = self._clock()
        late = [waiting for waiting in taken if waiting.deadline <= now]
        wanted = [waiting for waiting in taken if waiting.deadline > now and not waiting.future.cancelled()]
        batches = [_Batch(late, [_late() for _ in late], {})] if late else []
        # After a reload, queries of two bundles may wait side by side; each is answered by its own.
        alike: dict[tuple[int, Method], list[_Waiting]] = {}
        for waiting in wanted:
            alike.setdefault((id(waiting.recommender), waiting.method), []).append(waiting)
        for group in alike.values():
            batches += self._answer(group, now)
        return batches

    def _answer(self, group: list[_Waiting], now: float) -> list[_Batch]:
        """Answer a group together; when that fails each alone, so that one bad query spoils no other."""
        recommender = group[0].recommender
        try:
            ask: Callable[[Sequence[Query], Callable[[], float]], Answer] = getattr(recommender, group[0].method)
            answer = ask([waiting.query for waiting in group], self._clock)
            outcomes = [
                Computed(slate, {"wait": now - waiting.since, **answer.stage_seconds})
                for waiting, slate in zip(group, answer.slates, strict=True)
            ]
        except Exception as error:  # noqa: BLE001 - whatever fails in one batch, the thread answers the next
            if len(group) > 1:
                return [batch for waiting in group for batch in self._answer([waiting], now)]
            self._complain(recommender, error)
            return [_Batch(group, [EngineError(str(error))], {})]
        if answer.errors:
            self._complain(recommender, answer.errors[0])
        wait = max(now - waiting.since for waiting in group)
        return [_Batch(group, outcomes, {"wait": wait, **answer.stage_seconds})]

    def _complain(self, recommender: Recommender, error: Exception) -> None:
        """Log a failure with its trace; those that follow at once are left to the metric of degraded slates."""
        now = self._clock()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET_SECONDS
            _log.error("bundle %s failed at a query", recommender.bundle_id, exc_info=error)

    def _deliver(self, batches: list[_Batch]) -> None:
        for batch in batches:
            self._observe(batch.stage_seconds)
            for waiting, outcome in zip(batch.waiting, batch.outcomes, strict=True):
                if waiting.future.done():  # its client has gone
                    continue
                if isinstance(outcome, Computed):
                    waiting.future.set_result(outcome)
                else:
                    waiting.future.set_exception(outcome)


def _draining() -> DrainingError:
    return DrainingError("the server is shutting down; try another replica")


def _late() -> DeadlineError:
    return DeadlineError("the deadline passed before the answer was ready")
