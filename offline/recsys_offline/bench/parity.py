"""``recsys bench parity``: acknowledged events change the next answer of another server, and features can be replayed.

A driver records a purchase on one server and asks another, which shares its state directory, for the user's slate: the
item must be gone. The second server logs the features of its answers; afterwards the same features are computed from
the event log, and every number must be equal.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from recsys import bundle, config
from recsys.event_log import EventLog
from recsys.live import merged
from recsys.recommender import Recommender
from recsys.registry import Registry
from recsys.sample_log import Sample, SampleLog
from recsys.types import LiveEvent
from recsys_offline.bench.quality import machine
from recsys_offline.jobs import train_bundle
from recsys_offline.server_process import calling, running
from recsys_offline.simulate import simulate

USERS, ITEMS, DAYS, SHOP_SEED = 8_000, 800, 120, 7
TURNS = 10
"""Purchases of each user."""
NEW_SHARE = 5
"""Every so many users is one that the bundle does not know."""
CONFIG = """
[state]
sample_share = 1.0
[placements.default]
exclude_policy = "purchased"
"""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of the samples: how many, in how many anything differs, and the largest difference of a feature."""

    samples: int
    different: int
    largest_difference: float


def bench(out: Path, events: int) -> dict[str, Any]:
    """Drive two servers, replay what they logged, and write the figures to a file.

    Raises:
        RecsysError: a server does not start or answer.
    """
    with tempfile.TemporaryDirectory(prefix="recsys-bench-") as scratch:
        root = Path(scratch)
        simulate(root / "shop", USERS, ITEMS, DAYS, SHOP_SEED)
        registry = Registry(root / "registry")
        train_bundle(root / "shop", registry, None, config.Config())
        (root / "config.toml").write_text(CONFIG, encoding="utf-8")
        recommender = bundle.load(registry.path(registry.find(None)))
        misses = drive(root, recommender, events)
        with threadpool_limits(1, user_api="blas"):  # as in a server: sums of several threads have other last bits
            replayed = replay(recommender, root / "state")
    result = {
        "machine": machine(),
        "events": events,
        "answers_that_missed_an_event": misses,
        "samples": replayed.samples,
        "samples_that_differ": replayed.different,
        "largest_difference_of_a_feature": replayed.largest_difference,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def lines(result: dict[str, Any]) -> list[str]:
    """The result as lines of text."""
    return [
        "{events:,} events recorded on one server, missed by the next answer of another: "
        "{answers_that_missed_an_event}".format(**result),
        "{samples:,} answers with logged features, different when replayed from the log: {samples_that_differ}".format(
            **result
        ),
    ]


def drive(root: Path, recommender: Recommender, events: int) -> int:
    """Buy what stands first, on one server, and ask another: how many answers still show it."""
    options = ("--registry", root / "registry", "--state", root / "state", "--config", root / "config.toml")
    misses = 0
    with (
        running(options, root / "one.log") as one,
        running(options, root / "other.log") as other,
        calling(one.address, other.address) as ask,
    ):
        for turn in range(events):
            person = turn // TURNS
            known = recommender.model.users.id(person % len(recommender.model.users))
            user = f"new-{person}" if person % NEW_SHARE == 0 else known
            if turn % TURNS == 0:
                slate = ask("RecommendationService.Recommend", {"user_id": user}, 1)
            bought = slate["items"][0]["item_id"]
            event = {"user_id": user, "item_id": bought, "event_type": "EVENT_TYPE_PURCHASE"}
            ask("EventService.RecordEvents", {"events": [event]}, 0)
            slate = ask("RecommendationService.Recommend", {"user_id": user}, 1)
            misses += any(item["item_id"] == bought for item in slate["items"])
    return misses


def replay(recommender: Recommender, state: Path) -> Replayed:
    """Compute each sample of a state directory again, from the event log."""
    told = _by_user(state, recommender.until)
    samples = different = 0
    largest = 0.0
    with closing(SampleLog(state)) as log:
        for sample in (one for part in log.scan() for one in part):
            samples += 1
            difference = _difference(recommender, sample, told)
            different += difference > 0
            largest = max(largest, difference)
    return Replayed(samples, different, largest)


def _by_user(state: Path, since: int) -> dict[str, list[tuple[int, LiveEvent]]]:
    """The events of each user with their places in the log."""
    told: dict[str, list[tuple[int, LiveEvent]]] = {}
    with closing(EventLog(state)) as log:
        for sequence, event in (row for part in log.scan_numbered() for row in part):
            if event.event_time >= since and event.item_id:
                told.setdefault(event.user_id, []).append((sequence, event.live))
    return told


def _difference(recommender: Recommender, sample: Sample, told: dict[str, list[tuple[int, LiveEvent]]]) -> float:
    """The largest difference of a feature; infinite where another item stands somewhere."""
    query = sample.query
    known = [event for sequence, event in told.get(query.user_id, ()) if sequence <= sample.version]
    live = merged(reversed(known), query.live_events, recommender.until)
    answer = recommender.answer([query._replace(live_events=live, trace=True)], lambda: 0.0)
    trace = answer.slates[0].trace
    if trace is None or trace.item_ids != sample.trace.item_ids:
        return float("inf")
    gap = np.abs(trace.features - sample.trace.features)
    both_unknown = np.isnan(trace.features) & np.isnan(sample.trace.features)
    return float(np.nan_to_num(np.where(both_unknown, 0, gap), nan=np.inf).max(initial=0.0))
