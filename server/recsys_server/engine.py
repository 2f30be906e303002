"""One thread that answers queries: it takes whatever waits as one batch, as well as the time of each allows."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import Literal

from recsys.recommender import Recommender
from recsys.types import Answer, Query, ServedFrom, Slate
from recsys_server.errors import DeadlineError, DrainingError, EngineError, NoTimeError, OverloadedError
from recsys_server.pace import Pace, RankingPace

LEAST_WAITING = 16  # so many may always wait: on a slow machine, smaller batches would make it slower still
_QUIET_SECONDS = 60.0
_CLOSE_SECONDS = 5.0
_PROBE_SECONDS = 0.2
_IDLE = -math.inf
_log = logging.getLogger(__name__)
Method = Literal["answer", "similar", "rank_items"]
"""Of a recommender: what is asked of it."""
SKIPPED = {1.0: (), 0.5: ("candidates",), 0.0: ("ranker",)}
"""What is skipped, by the share of the candidates that go on to stage 2."""


Timings = tuple[tuple[str, float], ...]
"""Seconds of each stage of a batch."""


@dataclass(frozen=True, slots=True)
class Computed:
    """A slate.

    Attributes:
        slate: the slate.
        wait: seconds before its batch began.
        stages: of that batch, the same object for all its slates.
    """

    slate: Slate
    wait: float
    stages: Timings


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
    stages: Timings = ()


class Engine:
    """Computes slates in the order of their requests. There is no timer: an idle engine takes a batch of one at once.

    By the pace of the last batches it knows how long a further query would take. What would take too long is refused at
    once; where a client's time is short, fewer candidates are ranked, or none, and the slate says so.

    To be made and used on one event loop.

    Args:
        max_batch: queries answered together, at most.
        max_waiting: queries that may wait; further ones are refused.
        shed_seconds: a query that would be answered later than this is refused, unless few wait.
        observe: called on the loop with the stages of each batch, the longest wait for it among them.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        max_batch: int,
        max_waiting: int,
        shed_seconds: float,
        observe: Callable[[Timings], None],
        clock: Callable[[], float],
    ) -> None:
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._shed_seconds = shed_seconds
        self._observe = observe
        self._clock = clock
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._turns, self._slates = Pace(), RankingPace()
        self._free_at, self._probe_at = _IDLE, -math.inf
        self._quiet_until = -math.inf
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    async def answer(
        self,
        recommender: Recommender,
        query: Query,
        deadline: float,
        method: Method = "answer",
        *,
        shared: bool = False,
    ) -> Computed:
        """The slate of one query.

        Args:
            recommender: answers it.
            query: to be answered together with others that wait for the same.
            deadline: on the engine's clock; a query that cannot be ready then is not computed.
            method: of the recommender.
            shared: whether the answer serves many requests, so that it is worth its wait.

        Raises:
            OverloadedError: too many wait.
            NoTimeError: the deadline is too close, as things go.
            DeadlineError: the deadline passed while it waited.
            DrainingError: the engine is closed.
            EngineError: the recommender failed.
        """
        if self._closed:
            raise _draining()
        self._admit(deadline, shared)
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

    def _admit(self, deadline: float, shared: bool) -> None:
        waiting = self._queue.qsize()
        if waiting >= self._max_waiting:
            raise OverloadedError("too many requests wait; try again later")
        if waiting == 0 and self._free_at == _IDLE:
            return
        now = self._clock()
        batches, rest = divmod(waiting, self._max_batch)
        begun = max(0.0, self._free_at - now) + batches * self._turns.seconds(self._max_batch, now)
        if begun > 0 and now + begun + self._slates.at_most(rest + 1, 0.0, now) >= deadline:
            raise _no_time()
        soon = begun + self._turns.seconds(rest + 1, now) <= self._shed_seconds
        if not (soon or shared or waiting < LEAST_WAITING):
            raise OverloadedError("more requests come than can be answered soon; try again later")

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            for waiting in self._take(self._max_batch - 1):
                if waiting is None:
                    self._queue.put(None)  # for the next turn
                    break
                batch.append(waiting)
            self._turn(batch)

    def _take(self, count: int) -> Iterator[_Waiting | None]:
        for _ in range(count):
            try:
                yield self._queue.get_nowait()
            except Empty:
                return

    def _turn(self, taken: list[_Waiting]) -> None:
        """Compute what is taken, and learn how long that takes."""
        started = self._clock()
        self._free_at = started + self._turns.seconds(len(taken), started)
        if computed := self._compute(taken, started):
            ended = self._clock()
            self._turns.learn(computed, ended - started, ended)
        self._free_at = _IDLE

    def _compute(self, taken: list[_Waiting], now: float) -> int:
        """Answer what can be answered in time; the number of queries that were computed."""
        self._refuse([waiting for waiting in taken if waiting.deadline <= now], _late)
        wanted = [waiting for waiting in taken if waiting.deadline > now and not waiting.future.cancelled()]
        # After a reload, queries of two bundles may wait side by side; each is answered by its own.
        alike: dict[tuple[int, Method], list[_Waiting]] = {}
        for waiting in wanted:
            alike.setdefault((id(waiting.recommender), waiting.method), []).append(waiting)
        computed = 0
        for (_, method), group in alike.items():
            fitting = self._by_share(group, now) if method == "answer" else {1.0: group}
            for share in sorted(fitting):  # the hastiest first
                self._answer(fitting[share], now, share)
                computed += len(fitting[share])
        return computed

    def _by_share(self, group: list[_Waiting], now: float) -> dict[float, list[_Waiting]]:
        """The queries by the largest share of their candidates that can be ranked in time; the others are refused."""
        fitting: dict[float, list[_Waiting]] = {}
        rest = group
        for share in SKIPPED:
            needed = now + self._slates.at_most(len(rest), share, now)
            later: list[_Waiting] = []
            for waiting in rest:
                able = share == 1.0 or waiting.query.parameters.use_ranker
                (fitting.setdefault(share, []) if able and waiting.deadline > needed else later).append(waiting)
            rest = later
        self._refuse(rest, _no_time)
        if not fitting and now >= self._probe_at:
            # One is computed all the same, though nobody waits for it any more: else the engine would never learn that
            # it has become faster.
            self._probe_at = now + _PROBE_SECONDS
            fitting[0.0] = rest[:1]
        return fitting

    def _refuse(self, refused: list[_Waiting], why: Callable[[], Exception]) -> None:
        if refused:
            self._send(_Batch(refused, [why() for _ in refused]))

    def _send(self, batch: _Batch) -> None:
        self._loop.call_soon_threadsafe(self._deliver, batch)

    def _answer(self, group: list[_Waiting], now: float, share: float) -> None:
        """Answer a group together; when that fails each alone, so that one bad query spoils no other."""
        recommender, method = group[0].recommender, group[0].method
        try:
            ask: Callable[[Sequence[Query], Callable[[], float]], Answer] = getattr(recommender, method)
            started = self._clock()
            answer = ask([_eased(waiting.query, share) for waiting in group], self._clock)
            ended = self._clock()
            stages = tuple(answer.stage_seconds.items())
            outcomes = [
                Computed(_marked(slate, share), now - waiting.since, stages)
                for waiting, slate in zip(group, answer.slates, strict=True)
            ]
        except Exception as error:  # noqa: BLE001 - whatever fails in one batch, the thread answers the next
            if len(group) > 1:
                for waiting in group:
                    self._answer([waiting], now, share)
                return
            self._complain(recommender, error)
            self._send(_Batch(group, [EngineError(str(error))]))
            return
        if method == "answer":
            self._slates.learn(len(group), share, ended - started, answer.stage_seconds, ended)
        if answer.errors:
            self._complain(recommender, answer.errors[0])
        wait = max(now - waiting.since for waiting in group)
        self._send(_Batch(group, outcomes, (("wait", wait), *stages)))

    def _complain(self, recommender: Recommender, error: Exception) -> None:
        """Log a failure with its trace; those that follow at once are left to the metric of degraded slates."""
        now = self._clock()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET_SECONDS
            _log.error("bundle %s failed at a query", recommender.bundle_id, exc_info=error)

    def _deliver(self, batch: _Batch) -> None:
        self._observe(batch.stages)
        for waiting, outcome in zip(batch.waiting, batch.outcomes, strict=True):
            if waiting.future.done():  # its client has gone
                continue
            if isinstance(outcome, Computed):
                waiting.future.set_result(outcome)
            else:
                waiting.future.set_exception(outcome)


def _eased(query: Query, share: float) -> Query:
    """A query of whose candidates only a share goes on to stage 2; its features are no sample of what is served."""
    if share == 1.0:
        return query
    candidates = int(query.parameters.candidates * share)
    fewer = {"candidates": max(1, candidates)} if candidates else {"use_ranker": False}
    return replace(query, parameters=replace(query.parameters, **fewer), trace=False)


def _marked(slate: Slate, share: float) -> Slate:
    """A slate that says what was skipped, if that was to shape it."""
    skipped = SKIPPED[share] if slate.served_from is ServedFrom.MODEL else ()
    return replace(slate, degraded=(*slate.degraded, *skipped)) if skipped else slate


def _no_time() -> NoTimeError:
    return NoTimeError("the deadline is too close for an answer at this load; allow more time, or try again later")


def _draining() -> DrainingError:
    return DrainingError("the server is shutting down; try another replica")


def _late() -> DeadlineError:
    return DeadlineError("the deadline passed before the answer was ready")
