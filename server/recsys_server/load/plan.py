"""What is sent, and when: drawn and encoded before the first call, so that sending costs next to nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from recsys.types import Array, Bools, Float64s, Int64s
from recsys.v1 import event_pb2, event_service_pb2, recommendation_service_pb2

RECOMMEND = b"/recsys.v1.RecommendationService/Recommend"
RECORD = b"/recsys.v1.EventService/RecordEvents"
EVENTS_AT_ONCE = 10
_SCATTER = 2_147_483_647
"""A prime above any number of users: multiples of it spread neighbouring ranks over all rows."""
_TYPES = (event_pb2.EVENT_TYPE_VIEW_ITEM, event_pb2.EVENT_TYPE_ADD_TO_CART, event_pb2.EVENT_TYPE_PURCHASE)


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who asks: users u00000000 and on, by Zipf's law, and a share of users that nobody knows; items i00000000 and on.

    Attributes:
        users: known ones.
        items: of the catalogue.
        unknown: share of the requests.
        seed: draws it all.
    """

    users: int
    items: int
    unknown: float
    seed: int

    def requests(self, count: int) -> tuple[list[bytes], Bools]:
        """So many RecommendRequests, and which of them ask for a known user."""
        random = np.random.default_rng(self.seed)
        known = random.random(count) >= self.unknown
        asking = self._zipf(random, count)
        names = np.where(known, asking, np.arange(count)).tolist()
        letters = ["u" if one else "stranger" for one in known.tolist()]
        request = recommendation_service_pb2.RecommendRequest
        return [
            request(user_id=f"{letter}{number:08d}").SerializeToString()
            for letter, number in zip(letters, names, strict=True)
        ], known

    def records(self, count: int) -> list[bytes]:
        """So many RecordEventsRequests, of ten events each, by users who ask too; no event was ever sent before."""
        random = np.random.default_rng([self.seed, 1])
        n = count * EVENTS_AT_ONCE
        users, items = self._zipf(random, n).tolist(), random.integers(0, self.items, n).tolist()
        kinds, run = random.integers(0, len(_TYPES), n).tolist(), time.time_ns()
        events = [
            event_pb2.Event(
                event_id=f"{run}-{number}", user_id=f"u{user:08d}", item_id=f"i{item:08d}", event_type=_TYPES[kind]
            )
            for number, (user, item, kind) in enumerate(zip(users, items, kinds, strict=True))
        ]
        return [
            event_service_pb2.RecordEventsRequest(events=events[at : at + EVENTS_AT_ONCE]).SerializeToString()
            for at in range(0, n, EVENTS_AT_ONCE)
        ]

    def _zipf(self, random: np.random.Generator, count: int) -> Int64s:
        """Users whose chance falls with 1 / rank, the ranks scattered over all rows."""
        rank = np.exp(random.random(count) * np.log(self.users)).astype(np.int64)
        user: Int64s = rank * _SCATTER % self.users
        return user


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Calls in the order of their time.

    Attributes:
        due: float64[n], seconds from the start; all 0 where a call follows as soon as another ends.
        paths: of their methods.
        messages: of the requests.
        asks: bool[n], which are Recommend; the others record events.
        known: bool[n], which ask for a known user.
    """

    due: Float64s
    paths: list[bytes]
    messages: list[bytes]
    asks: Bools
    known: Bools

    def __len__(self) -> int:
        return len(self.messages)

    def some(self, numbers: list[int]) -> Plan:
        """Some of the calls, by number."""
        paths, messages = ([column[number] for number in numbers] for column in (self.paths, self.messages))
        return Plan(self.due[numbers], paths, messages, self.asks[numbers], self.known[numbers])


def closed(crowd: Crowd, count: int) -> Plan:
    """Calls without a time of their own."""
    messages, known = crowd.requests(count)
    return Plan(np.zeros(count), [RECOMMEND] * count, messages, np.ones(count, dtype=bool), known)


def opened(crowd: Crowd, rate: float, events_rate: float, seconds: float) -> Plan:
    """Poisson arrivals of requests, and of calls that record events, a second."""
    random = np.random.default_rng([crowd.seed, 2])
    asked, recorded = (_arrivals(random, each, seconds) for each in (rate, events_rate / EVENTS_AT_ONCE))
    messages, known = crowd.requests(len(asked))
    messages += crowd.records(len(recorded))
    due = np.concatenate([asked, recorded])
    order: Array = np.argsort(due, kind="stable")
    asks = order < len(asked)
    return Plan(
        due[order],
        [RECOMMEND if one else RECORD for one in asks.tolist()],
        [messages[place] for place in order.tolist()],
        asks,
        np.append(known, np.zeros(len(recorded), dtype=bool))[order],
    )


def _arrivals(random: np.random.Generator, rate: float, seconds: float) -> Float64s:
    """float64[n], rising: times of independent arrivals."""
    return np.sort(random.random(random.poisson(rate * seconds)) * seconds)
