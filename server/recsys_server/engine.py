"""What answers queries: it takes whatever waits as one batch, as well as the time of each allows."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from recsys.recommender import Recommender
from recsys.types import Answer, Query, ServedFrom, Slate
from recsys_server.errors import DeadlineError, DrainingError, EngineError, NoTimeError, OverloadedError
from recsys_server.pace import Pace, RankingPace
from recsys_server.running import PromptFuture

LEAST_WAITING = 16  # so many may always wait: on a slow machine, smaller batches would make it slower still
TURN_SECONDS = 0.025  # of a batch of more than these, as things go: nothing else is done meanwhile
OVERLOAD_SECONDS = 0.1
"""After a query was refused; while it lasts, which it does as long as more come than can be answered,"""
OVERLOAD_SHARE = 0.2
"""of the time that a query may take is enough to have one always waiting: more would only make all of them wait."""
_QUIET_SECONDS = 60.0
_PROBE_SECONDS = 0.2
_PROBE_PAUSE = 10  # times as long as the last computation took
_log = logging.getLogger(__name__)
Method = Literal["answer", "similar", "rank_items"]
"""Of a recommender: what is asked of it."""
SKIPPED = {1.0: (), 0.5: ("candidates",), 0.0: ("ranker",)}
"""What is skipped, by the share of the candidates that go on to stage 2."""


Timings = tuple[tuple[str, float], ...]
"""Seconds of each stage of a batch."""


class Computed(NamedTuple):
    """A slate; a tuple, as one is made for each request.

    Attributes:
        slate: the slate.
        wait: seconds before its batch began.
        stages: of that batch, the same object for all its slates.
    """

    slate: Slate
    wait: float
    stages: Timings


class _Waiting(PromptFuture[Computed]):
    """A query, until its slate is there."""

    __slots__ = ("deadline", "method", "query", "recommender", "since")

    def __init__(
        self,
        recommender: Recommender,
        method: Method,
        query: Query,
        deadline: float,
        since: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(loop)
        self.recommender = recommender
        self.method: Method = method
        self.query = query
        self.deadline = deadline
        self.since = since


class Engine:
    """Computes slates in the order of their requests, on the event loop: what comes meanwhile is the next batch.

    There is no timer: an idle engine takes a batch of one at once. Nor is there a thread: to wake one, and to be woken
    by it, costs a tenth of an answer, and what else the loop does is brief.

    By the pace of the last batches it knows how long a further query would take. What would take too long is refused at
    once; where a client's time is short, fewer candidates are ranked, or none, and the slate says so.

    To be made and used on one event loop.

    Args:
        max_batch: queries answered together, at most.
        max_waiting: queries that may wait; further ones are refused.
        shed_seconds: a query that would be answered later than this is refused, unless few wait; sooner than that
            where one was refused just before, as a queue helps against a burst and not against too many.
        observe: called with the stages of each batch, the longest wait for it among them.
        clock: monotonic seconds.
        together: calls something that answers many queries.
    """

    def __init__(
        self,
        max_batch: int,
        max_waiting: int,
        shed_seconds: float,
        observe: Callable[[Timings], None],
        clock: Callable[[], float],
        together: Callable[[Callable[[], None]], None],
    ) -> None:
        self._max_batch = max_batch
        self._few = min(LEAST_WAITING, max_batch)
        self._max_waiting = max_waiting
        self._shed_seconds = shed_seconds
        self._observe = observe
        self._clock = clock
        self._together = together
        self._waiting: deque[_Waiting] = deque()
        self._loop = asyncio.get_running_loop()
        self._closed = self._due = False
        self._turns, self._slates = Pace(), RankingPace()
        self._probe_at = self._quiet_until = self._overload_until = -math.inf

    def answer(
        self,
        recommender: Recommender,
        query: Query,
        deadline: float,
        method: Method = "answer",
        *,
        shared: bool = False,
    ) -> Awaitable[Computed]:
        """The slate of one query, once it is there.

        Args:
            recommender: answers it.
            query: to be answered together with others that wait for the same.
            deadline: on the engine's clock; a query that cannot be ready then is not computed.
            method: of the recommender.
            shared: whether the answer serves many requests, so that it is worth its wait.

        Raises:
            OverloadedError: too many wait.
            NoTimeError: the deadline is too close, as things go; this may show while it waits, too.
            DeadlineError: while it waits: the deadline has passed.
            DrainingError: the engine is closed, or is while it waits.
            EngineError: while it waits: the recommender failed.
        """
        if self._closed:
            raise _draining()
        now = self._clock()
        self._admit(deadline, now, shared=shared)
        if not self._due:
            self._due = True
            self._loop.call_soon(self._together, self._turn)
        waiting = _Waiting(recommender, method, query, deadline, now, self._loop)
        self._waiting.append(waiting)
        return waiting

    def close(self) -> None:
        """Refuse what waits, and all that comes."""
        self._closed = True
        self._refuse(self._taken(len(self._waiting)), _draining)

    def _admit(self, deadline: float, now: float, *, shared: bool) -> None:
        waiting = len(self._waiting)
        if waiting >= self._max_waiting:
            raise OverloadedError("too many requests wait; try again later")
        if waiting < self._few:
            return
        batches, rest = divmod(waiting, self._max_batch)
        begun = batches * self._turns.seconds(self._max_batch, now) if batches else 0.0
        if begun > 0 and now + begun + self._slates.at_most(rest + 1, 0.0, now) >= deadline:
            raise _no_time()
        longest = self._shed_seconds * (OVERLOAD_SHARE if now < self._overload_until else 1.0)
        soon = begun + self._turns.seconds(rest + 1, now) <= longest
        if not (soon or shared or waiting < LEAST_WAITING):
            self._overload_until = now + OVERLOAD_SECONDS
            raise OverloadedError("more requests come than can be answered soon; try again later")

    def _taken(self, count: int) -> list[_Waiting]:
        return [self._waiting.popleft() for _ in range(count)]

    def _turn(self) -> None:
        """Compute the next batch, and learn how long that takes."""
        started = self._clock()
        taken = self._taken(self._fitting(started))
        try:
            if computed := self._compute(taken, started):
                ended = self._clock()
                self._turns.learn(computed, ended - started, ended)
        finally:
            self._due = bool(self._waiting)
            if self._due:
                self._later(self._turn)

    def _fitting(self, now: float) -> int:
        """Queries of the next batch."""
        count = min(len(self._waiting), self._max_batch)
        while count > LEAST_WAITING and self._turns.seconds(count, now) > TURN_SECONDS:
            count = max(LEAST_WAITING, count // 2)
        return count

    def _later(self, call: Callable[[], None]) -> None:
        """Call something after what has been answered is sent."""
        self._loop.call_soon(self._loop.call_soon, self._together, call)

    def _compute(self, taken: list[_Waiting], now: float) -> int:
        """Answer what can be answered in time; the number of queries that were computed."""
        # After a reload, queries of two bundles may wait side by side; each is answered by its own.
        alike: dict[tuple[Recommender, Method], list[_Waiting]] = {}
        late = []
        for waiting in taken:
            if waiting.deadline <= now:
                late.append(waiting)
            elif not waiting.cancelled():
                alike.setdefault((waiting.recommender, waiting.method), []).append(waiting)
        self._refuse(late, _late)
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
            if not rest:
                return fitting
        self._refuse(rest, _no_time)
        if not fitting and now >= self._probe_at:
            # One is computed all the same, though nobody waits for it any more: else the engine would never learn that
            # it has become faster. Not often, as meanwhile nothing else is done.
            self._probe_at = now + _PROBE_SECONDS
            self._later(lambda: self._answer(rest[:1], self._clock(), 0.0))
        return fitting

    def _refuse(self, refused: list[_Waiting], why: Callable[[], Exception]) -> None:
        for waiting in refused:
            if not waiting.done():  # else its client has gone
                waiting.set_exception(why())

    def _answer(self, group: list[_Waiting], now: float, share: float) -> None:
        """Answer a group together; when that fails each alone, so that one bad query spoils no other."""
        recommender, method = group[0].recommender, group[0].method
        try:
            ask: Callable[[Sequence[Query], Callable[[], float]], Answer] = getattr(recommender, method)
            started = self._clock()
            queries = [waiting.query for waiting in group]
            answer = ask(queries if share == 1.0 else [_eased(query, share) for query in queries], self._clock)
            ended = self._clock()
            slates = answer.slates if share == 1.0 else [_marked(slate, share) for slate in answer.slates]
            answered = [*zip(group, slates, strict=True)]
        except Exception as error:  # noqa: BLE001 - whatever fails in one batch, the next is answered
            if len(group) > 1:
                for waiting in group:
                    self._answer([waiting], now, share)
                return
            self._complain(recommender, error)
            message = str(error)
            self._refuse(group, lambda: EngineError(message))
            return
        if method == "answer":
            self._slates.learn(len(group), share, ended - started, answer.stage_seconds, ended)
            self._probe_at = ended + max(_PROBE_SECONDS, _PROBE_PAUSE * (ended - started))
        if answer.errors:
            self._complain(recommender, answer.errors[0])
        stages = tuple(answer.stage_seconds.items())
        self._observe((("wait", now - group[0].since), *stages))
        for waiting, slate in answered:
            if not waiting.done():  # else its client has gone
                waiting.set_result(Computed(slate, now - waiting.since, stages))

    def _complain(self, recommender: Recommender, error: Exception) -> None:
        """Log a failure with its trace; those that follow at once are left to the metric of degraded slates."""
        now = self._clock()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET_SECONDS
            _log.error("bundle %s failed at a query", recommender.bundle_id, exc_info=error)


def _eased(query: Query, share: float) -> Query:
    """A query of whose candidates only a share goes on to stage 2; its features are no sample of what is served."""
    candidates = int(query.parameters.candidates * share)
    fewer = {"candidates": max(1, candidates)} if candidates else {"use_ranker": False}
    return query._replace(parameters=replace(query.parameters, **fewer), trace=False)


def _marked(slate: Slate, share: float) -> Slate:
    """A slate that says what was skipped, if that was to shape it."""
    skipped = SKIPPED[share] if slate.served_from is ServedFrom.MODEL else ()
    return slate._replace(degraded=(*slate.degraded, *skipped)) if skipped else slate


def _no_time() -> NoTimeError:
    return NoTimeError("the deadline is too close for an answer at this load; allow more time, or try again later")


def _draining() -> DrainingError:
    return DrainingError("the server is shutting down; try another replica")


def _late() -> DeadlineError:
    return DeadlineError("the deadline passed before the answer was ready")
