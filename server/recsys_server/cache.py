"""Slates that are kept: the popular one for all, and each user's last ones."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from recsys.recommender import Recommender
from recsys.rules import Rules
from recsys.types import Query, ServingParameters, Slate
from recsys_server.codec import Assignments

Clock = Callable[[], float]

POPULAR_DEPTH = 1_000  # the largest slate, and as many exclusions
MOST_POPULAR = 256  # ways to serve that are kept; each is some 100 KB
MAX_KEPT_BYTES = 4_096  # of one user's slate, which bounds the memory of all; 100 items or so

_log = logging.getLogger(__name__)
_PopularKey = tuple[str, int, ServingParameters, Rules, int]


@dataclass(frozen=True, slots=True)
class _Popular:
    slate: Slate
    expires: float


class PopularCache:
    """One deep popular slate for each bundle and way to serve, computed once for all who wait for it.

    Args:
        compute: answers a query by a recommender.
        seconds: how long a slate is good.
        clock: monotonic seconds.
    """

    def __init__(self, compute: Callable[[Recommender, Query], Awaitable[Slate]], seconds: float, clock: Clock) -> None:
        self._compute = compute
        self._seconds = seconds
        self._clock = clock
        self._kept: dict[_PopularKey, _Popular] = {}
        self._computing: dict[_PopularKey, asyncio.Task[Slate]] = {}

    def fresh(self, recommender: Recommender, query: Query) -> Slate | None:
        """The slate that is kept, if it is still good."""
        kept = self._kept.get(_popular_key(recommender, query))
        return kept.slate if kept and self._clock() < kept.expires else None

    async def slate(self, recommender: Recommender, query: Query) -> Slate:
        """The popular slate by the parameters and rules of a query, as long as it may need.

        One that is past its time stands in while a new one cannot be computed.
        """
        kept = self.fresh(recommender, query)
        if kept is not None:
            return kept
        key = _popular_key(recommender, query)
        task = self._computing.get(key)
        if task is None:
            task = asyncio.create_task(self._renew(recommender, key, query.now))
            self._computing[key] = task
            task.add_done_callback(lambda done: self._computed(key, done))
        try:
            return await asyncio.shield(task)  # one waiter that gives up must not take the others along
        except Exception:
            if key not in self._kept:
                raise
            return self._kept[key].slate

    async def _renew(self, recommender: Recommender, key: _PopularKey, now: int) -> Slate:
        slate = await self._compute(recommender, Query("", key[4], now, parameters=key[2], rules=key[3]))
        self._kept = {other: kept for other, kept in self._kept.items() if other[:2] == key[:2]}
        if len(self._kept) >= MOST_POPULAR:
            del self._kept[min(self._kept, key=lambda other: self._kept[other].expires)]
        self._kept[key] = _Popular(slate, self._clock() + self._seconds)
        return slate

    def _computed(self, key: _PopularKey, task: asyncio.Task[Slate]) -> None:
        del self._computing[key]
        if not task.cancelled() and task.exception():
            _log.warning("no new popular slate of bundle %s: %s", key[0], task.exception())


def popular_depth(query: Query) -> int:
    """How long the popular slate is that a query's is cut from; where rules move items, its own length decides."""
    return POPULAR_DEPTH if query.rules == Rules(query.rules.condition) else query.slate_size


def _popular_key(recommender: Recommender, query: Query) -> _PopularKey:
    return recommender.bundle_id, recommender.catalogue_version, query.parameters, query.rules, popular_depth(query)


UserKey = tuple[str, int, Assignments, ServingParameters, Rules, str, int, bytes, int]


def user_key(recommender: Recommender, assignments: Assignments, query: Query) -> UserKey:
    """All that a personal slate depends on, but the time."""
    # Hashed, because thousands of item ids in each of many keys would outweigh the slates. NUL is in no id.
    ids = "\0".join((*query.seed_item_ids, "", *query.exclude_item_ids))
    digest = hashlib.blake2b(ids.encode(), digest_size=16).digest()
    return (
        recommender.bundle_id,
        recommender.catalogue_version,
        assignments,
        query.parameters,
        query.rules,
        query.user_id,
        query.slate_size,
        digest,
        hash((query.live_events, query.shown)),
    )


class UserCache:
    """The last personal slates, as encoded bytes; the least recently used one makes room.

    Args:
        capacity: slates kept, at most.
        seconds: how long one is good.
        clock: monotonic seconds.
    """

    def __init__(self, capacity: int, seconds: float, clock: Clock) -> None:
        self._capacity = capacity
        self._seconds = seconds
        self._clock = clock
        self._kept: OrderedDict[UserKey, tuple[float, bytes]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: UserKey) -> bytes | None:
        """The slate that is kept, if it is still good."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        expires, slate = kept
        if self._clock() >= expires:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return slate

    def put(self, key: UserKey, slate: bytes) -> None:
        """Keep a slate, unless it is very large."""
        if len(slate) > MAX_KEPT_BYTES or not self._capacity:
            return
        self._kept[key] = (self._clock() + self._seconds, slate)
        self._kept.move_to_end(key)
        if len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
