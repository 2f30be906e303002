"""What the answers are worth: every one is read, and some users are asked again alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from recsys.types import Bools
from recsys.v1 import recommendation_service_pb2
from recsys.v1.event_service_pb2 import RecordEventsResponse
from recsys.v1.recommendation_service_pb2 import RecommendResponse
from recsys_server.load.loops import Calls
from recsys_server.load.plan import EVENTS_AT_ONCE

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
NO_ANSWER = "NO_ANSWER"
SLATE = 20
SHARED = 18
"""Items of a slate that a user must find again who asks alone: scores that all but tie may change places."""
_OF_KNOWN = (recommendation_service_pb2.SERVED_FROM_MODEL, recommendation_service_pb2.SERVED_FROM_USER_CACHE)


def figures(calls: Calls, timeout: float, *, check: bool) -> dict[str, Any]:
    """The figures of the calls that count: those of Recommend that were due in the window.

    Args:
        calls: all.
        timeout: seconds within which an answer is good.
        check: whether the answers are slates, to be read.
    """
    start, stop = calls.window
    counted = calls.plan.asks & (calls.since >= start) & (calls.since < stop)
    ok = counted & _are(calls, "OK")
    latency = (calls.until - calls.since)[ok]
    answered = calls.plan.asks & _are(calls, "OK") & (calls.until >= start) & (calls.until < stop)
    codes = Counter(calls.codes[number] or NO_ANSWER for number in np.flatnonzero(counted & ~ok).tolist())
    records = np.flatnonzero(~calls.plan.asks & (calls.since >= start) & (calls.since < stop)).tolist()
    own, started = (after - before for before, after in zip(*calls.cpu, strict=True))
    result: dict[str, Any] = {
        "seconds": round(stop - start, 3),
        "sent": int(counted.sum()),
        "ok": int(ok.sum()),
        "good": (good := int((latency <= timeout).sum())),
        "answered": int((calls.plan.asks & _are(calls, "OK")).sum()),
        "errors": dict(sorted(codes.items())),
        "answered_per_second": round(int(answered.sum()) / (stop - start), 1),
        "goodput_per_second": round(good / (stop - start), 1),
        "ms": {name: _ms(latency, share) for name, share in QUANTILES.items()},
        "sender_late_ms_p99": _ms(calls.late[counted], 0.99),
        "cpu_us": round((own + started) / max(int(answered.sum()), 1) * 1e6, 1),
        "started_cpu_us": round(started / max(int(answered.sum()), 1) * 1e6, 1),
        "bytes": round(float(np.mean([len(calls.bodies[n]) for n in np.flatnonzero(ok).tolist()] or [0])), 1),
    }
    if records:
        sent = {"calls": len(records), "events": len(records) * EVENTS_AT_ONCE}
        result["records"] = sent | {"kept": _kept(calls, records)}
    return result | (_slates(calls, np.flatnonzero(ok).tolist(), stop - start) if check else {})


def judged_again(calls: Calls, again: Calls, numbers: list[int]) -> tuple[int, int]:
    """How many of the users who asked once more, alone, were answered whole; and how many of these by another slate."""
    whole = [
        (calls.bodies[number], again.bodies[place])
        for place, number in enumerate(numbers)
        if again.codes[place] == "OK" and not _parsed(again.bodies[place]).degraded
    ]
    return len(whole), sum(len(_items(first) & _items(second)) < SHARED for first, second in whole)


def worth_asking_again(calls: Calls, count: int) -> list[int]:
    """Some calls of known users that were answered whole, spread over the run."""
    good = [
        number
        for number in np.flatnonzero(calls.plan.known & _are(calls, "OK")).tolist()
        if not _parsed(calls.bodies[number]).degraded
    ]
    return good[:: max(len(good) // count, 1)][:count] if count else []


def _slates(calls: Calls, numbers: list[int], seconds: float) -> dict[str, Any]:
    """What the slates are: where from, degraded by what, and how many are not as they should be."""
    served, degraded, wrong, impaired = Counter[str](), Counter[str](), 0, 0
    for number in numbers:
        response = _parsed(calls.bodies[number])
        served[recommendation_service_pb2.ServedFrom.Name(response.served_from)] += 1
        degraded.update(response.degraded)
        impaired += bool(response.degraded)
        wrong += not _is_sound(response, known=bool(calls.plan.known[number]))
    return {
        "served_from": dict(sorted(served.items())),
        "degraded": dict(sorted(degraded.items())),
        "degraded_share": round(impaired / max(len(numbers), 1), 4),
        "whole_per_second": round((len(numbers) - impaired) / seconds, 1),
        "wrong": wrong,
    }


def _is_sound(response: RecommendResponse, *, known: bool) -> bool:
    """Whether a slate has 20 different items, best first, and is the user's own unless it says why not."""
    scores = [item.score for item in response.items]
    return (
        len(scores) == SLATE
        and len({item.item_id for item in response.items}) == SLATE
        and [item.rank for item in response.items] == [*range(1, SLATE + 1)]
        and scores == sorted(scores, reverse=True)
        and (not known or response.served_from in _OF_KNOWN or bool(response.degraded))
    )


def _kept(calls: Calls, records: list[int]) -> int:
    """How many of the events of some calls the server has accepted."""
    answered = [calls.bodies[number] for number in records if calls.codes[number] == "OK"]
    return sum(RecordEventsResponse.FromString(body).accepted_count for body in answered)


def _items(body: bytes) -> set[str]:
    return {item.item_id for item in _parsed(body).items}


def _parsed(body: bytes) -> RecommendResponse:
    return RecommendResponse.FromString(body)


def _are(calls: Calls, code: str) -> Bools:
    return np.array([each == code for each in calls.codes], dtype=bool)


def _ms(seconds: Any, share: float) -> float | None:
    return round(float(np.quantile(seconds, share)) * 1000, 3) if len(seconds) else None
