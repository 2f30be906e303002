"""Slates that are kept: the popular one for all, and each user's last ones."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from recsys.recommender import Recommender
from recsys.rules import Rules
from recsys.types import Query, Slate
from recsys_server.codec_slate import Assignments

Clock = Callable[[], float]

POPULAR_DEPTH = 1_000  # the largest slate, and as many exclusions
ITEM_BYTES = REASON_BYTES = 160  # of an item in a popular slate, and of each reason for it, measured
ENTRY_BYTES = 268  # of a user's slate besides its own bytes, measured
FRESH_SHARE = 0.75  # of its time, after which a popular slate that is asked for is computed anew

_log = logging.getLogger(__name__)
_Version = tuple[str, int]
"""A bundle, and the last change of its items."""


@dataclass(frozen=True, slots=True)
class _Popular:
    slate: Slate
    since: float
    size: int


class PopularCache:
    """One deep popular slate for each bundle and way to serve, computed once for all who wait for it.

    One that is asked for late in its time is served, and computed anew meanwhile: nobody waits for what many ask.

    Args:
        compute: answers a query by a recommender.
        budget: bytes of all slates, at most; the oldest make room; 0: none is kept.
        seconds: how long a slate is good.
        looked_up: told of each look-up whether a good slate was there.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        compute: Callable[[Recommender, Query], Awaitable[Slate]],
        budget: int,
        seconds: float,
        looked_up: Callable[[bool], None],
        clock: Clock,
    ) -> None:
        self._compute = compute
        self._budget = budget
        self._seconds = seconds
        self._looked_up = looked_up
        self._clock = clock
        self._kept: OrderedDict[bytes, _Popular] = OrderedDict()  # the oldest first
        self._size = 0
        self._version: _Version | None = None
        self._computing: dict[bytes, asyncio.Task[Slate]] = {}

    @property
    def keeps_nothing(self) -> bool:
        """Whether looking a slate up is in vain."""
        return self._budget == 0

    def kept(self, recommender: Recommender, query: Query) -> Slate | None:
        """The slate that is kept, be it past its time."""
        kept = self._kept.get(_popular_key(recommender, query))
        return kept.slate if kept else None

    async def slate(self, recommender: Recommender, query: Query) -> Slate:
        """The popular slate by the parameters and rules of a query, as long as it may need.

        One that is past its time stands in while a new one cannot be computed.
        """
        key = _popular_key(recommender, query)
        kept = self._kept.get(key)
        age = self._clock() - kept.since if kept else self._seconds
        self._looked_up(age < self._seconds)
        if kept is not None and age < self._seconds * FRESH_SHARE:
            return kept.slate
        task = self._renewing(recommender, key, query)
        if kept is not None and age < self._seconds:
            return kept.slate
        try:
            return await asyncio.shield(task)  # one waiter that gives up must not take the others along
        except Exception:
            if key not in self._kept:
                raise
            return self._kept[key].slate

    def _renewing(self, recommender: Recommender, key: bytes, query: Query) -> asyncio.Task[Slate]:
        """The computation of a slate that is on its way, or a new one."""
        task = self._computing.get(key)
        if task is None:
            task = self._computing[key] = asyncio.create_task(self._renew(recommender, key, query))
            task.add_done_callback(lambda done: self._computed(recommender.bundle_id, key, done))
        return task

    async def _renew(self, recommender: Recommender, key: bytes, query: Query) -> Slate:
        deep = Query("", popular_depth(query), query.now, parameters=query.parameters, rules=query.rules)
        slate, version = await self._compute(recommender, deep), (recommender.bundle_id, recommender.catalogue_version)
        if version != self._version:
            self._kept.clear()
            self._size, self._version = 0, version
        self._let_go(self._kept.pop(key, None))
        kept = self._kept[key] = _Popular(slate, self._clock(), _size(slate))
        self._size += kept.size
        while self._size > self._budget:
            self._let_go(self._kept.popitem(last=False)[1])
        return slate

    def _let_go(self, kept: _Popular | None) -> None:
        if kept is not None:
            self._size -= kept.size

    def _computed(self, bundle_id: str, key: bytes, task: asyncio.Task[Slate]) -> None:
        del self._computing[key]
        if not task.cancelled() and task.exception():
            _log.warning("no new popular slate of bundle %s: %s", bundle_id, task.exception())


def _size(slate: Slate) -> int:
    return ENTRY_BYTES + sum(ITEM_BYTES + REASON_BYTES * len(item.reasons) for item in slate.items)


def popular_depth(query: Query) -> int:
    """How long the popular slate is that a query's is cut from; where rules move items, its own length decides."""
    return POPULAR_DEPTH if query.rules == Rules(query.rules.condition) else query.slate_size


def _popular_key(recommender: Recommender, query: Query) -> bytes:
    """A digest of all that a popular slate depends on, but the time."""
    way = _way(recommender.bundle_id, recommender.catalogue_version, (), query.parameters)
    return _digest((way, repr(query.rules), str(popular_depth(query))))


def user_key(recommender: Recommender, assignments: Assignments, query: Query, lately: Hashable) -> bytes:
    """A digest of all that a personal slate depends on, but the time.

    Args:
        recommender: answers the query.
        assignments: the variants that shape it.
        query: what is asked.
        lately: tells the live events of the query from others of its user.
    """
    way = _way(recommender.bundle_id, recommender.catalogue_version, assignments, query.parameters)
    own = f"{query.slate_size} {hash(lately)} {hash(query.shown)} {query.user_id!r}"
    # The ids may be thousands. NUL is in none of them.
    return _digest((way, repr(query.rules), own, *query.seed_item_ids, "", *query.exclude_item_ids))


def _digest(parts: Sequence[str]) -> bytes:
    """What stands for a key that itself would outweigh the slate: a client's rules may be as long as a request."""
    return hashlib.blake2b("\0".join(parts).encode(errors="surrogatepass"), digest_size=16).digest()


@lru_cache(maxsize=256)
def _way(*what: Hashable) -> str:
    """How slates are made, whoever asks and by whatever rules: few combinations occur."""
    return hashlib.sha256(repr(what).encode(errors="surrogatepass")).hexdigest()


class UserCache:
    """The last personal slates, as encoded bytes; the least recently used one makes room.

    Args:
        budget: bytes of all slates, at most; 0: none is kept.
        seconds: how long one is good.
        clock: monotonic seconds.
    """

    def __init__(self, budget: int, seconds: float, clock: Clock) -> None:
        self._budget = budget
        self._seconds = seconds
        self._clock = clock
        self._size = 0
        self._kept: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()

    @property
    def keeps_nothing(self) -> bool:
        """Whether looking a slate up is in vain."""
        return self._budget == 0

    def get(self, key: bytes) -> bytes | None:
        """The slate that is kept, if it is still good."""
        kept = self._kept.get(key)
        if kept is None or self._clock() >= kept[0]:
            return None
        self._kept.move_to_end(key)
        return kept[1]

    def kept(self, key: bytes) -> bytes | None:
        """The slate that is kept, be it past its time."""
        kept = self._kept.get(key)
        return kept[1] if kept else None

    def put(self, key: bytes, slate: bytes) -> None:
        """Keep a slate, unless it alone is above the budget."""
        if ENTRY_BYTES + len(slate) > self._budget:
            return
        self._remove(self._kept.pop(key, None))
        self._kept[key] = (self._clock() + self._seconds, slate)
        self._size += ENTRY_BYTES + len(slate)
        while self._size > self._budget:
            self._remove(self._kept.popitem(last=False)[1])

    def _remove(self, kept: tuple[float, bytes] | None) -> None:
        if kept is not None:
            self._size -= ENTRY_BYTES + len(kept[1])
