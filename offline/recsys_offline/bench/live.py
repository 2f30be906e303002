"""``recsys bench live``: users new since training, after some live events, against training anew.

The old bundle knows the first part of the shop's time and is told the first events of each new user. The new bundles
are trained on the whole time, on all that everybody else did and the same events of the new users.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recsys.config import Config
from recsys.errors import DataError
from recsys.interactions import Events
from recsys.metrics import Truth, bootstrap_interval, per_user
from recsys.recommender import Identity, Recommender
from recsys.types import INTERACTION_TYPES, Bools, EventType, Int32s, LiveEvent, Query
from recsys_offline import dataset
from recsys_offline.bench.quality import SEED, K, machine
from recsys_offline.dataset import Dataset
from recsys_offline.simulate import simulate
from recsys_offline.train import run as training
from recsys_offline.train.steps import Steps

USERS, ITEMS, DAYS, SHOP_SEED = 12_000, 1_000, 120, 7
KNOWN = (1, 3, 10)
"""Live events after which a new user is asked for."""
TRAINED_SHARE = 0.75
"""Of the shop's time that the bundle has seen."""
AT_ONCE = 64
WAYS = ("most popular", "live", "trained anew")


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A user who came after the training: row in the dataset, what was done in order of time, rows of the events."""

    user_num: int
    rows: tuple[int, ...]


def bench(out: Path) -> dict[str, Any]:
    """Simulate, train, ask, train anew, ask again, and write the figures to a file."""
    with tempfile.TemporaryDirectory(prefix="recsys-bench-") as scratch:
        folder = Path(scratch) / "shop"
        simulate(folder, USERS, ITEMS, DAYS, SHOP_SEED)
        data = dataset.read(folder)
    result = {
        "machine": machine(),
        "shop": {"users": USERS, "items": ITEMS, "days": DAYS, "seed": SHOP_SEED},
        "known_events": judge(data, KNOWN),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def judge(data: Dataset, known: Sequence[int]) -> dict[str, Any]:
    """NDCG@20 of each way to answer, for each number of events known of the new users.

    Raises:
        DataError: nobody is new since training.
    """
    events = data.events
    cut = int(np.quantile(events.time, [0, 1]) @ (1 - TRAINED_SHARE, TRAINED_SHARE))
    asked = newcomers(data, cut, max(known))
    if not asked:
        raise DataError("no user came after the training and stayed: simulate more users or days")
    live = _train(data, cut)
    figures = {}
    for count in known:
        anew = replace(data, events=events.where(told(events, asked, count)))
        figures[str(count)] = _judge(data, asked, count, live, _train(anew, None))
    return figures


def newcomers(data: Dataset, cut: int, most_known: int) -> list[Newcomer]:
    """Users whose first event comes after a cut, who act more than ``most_known`` times, and buy after that."""
    events, n_users = data.events, len(data.users)
    old = np.zeros(max(n_users, int(events.user_num.max()) + 1), dtype=bool)
    old[events.before(cut).user_num] = True
    acted = np.isin(events.event_type, INTERACTION_TYPES) & (events.user_num < n_users) & ~old[events.user_num]
    rows = np.flatnonzero(acted)
    order = rows[np.argsort(events.user_num[rows], kind="stable")]
    _, start = np.unique(events.user_num[order], return_index=True)
    people = [
        Newcomer(int(events.user_num[part[0]]), tuple(part.tolist()))
        for part in np.split(order, start[1:])
        if len(part)
    ]
    bought = events.event_type == EventType.PURCHASE
    return [one for one in people if bought[list(one.rows[most_known:])].any()]


def told(events: Events, asked: list[Newcomer], count: int) -> Bools:
    """bool[n]: the events of everybody else, and the first ``count`` of each newcomer."""
    kept = ~np.isin(events.user_num, [one.user_num for one in asked])
    kept[[row for one in asked for row in one.rows[:count]]] = True
    return kept


def _judge(data: Dataset, asked: list[Newcomer], count: int, live: Recommender, anew: Recommender) -> dict[str, Any]:
    """The figures after ``count`` events."""
    truth = _truth(data, asked, count)
    live_events = [_live_events(data.events, one.rows[:count], data) for one in asked]
    ids = data.users.ids(np.array([one.user_num for one in asked]))
    now = [events[0].time for events in live_events]
    ways = {
        "most popular": (live, [Query("", K, at) for at in now]),
        "live": (
            live,
            [Query(user, K, at, live_events=events) for user, at, events in zip(ids, now, live_events, strict=True)],
        ),
        "trained anew": (anew, [Query(user, K, anew.until) for user in ids]),
    }
    ndcg = {name: per_user(truth, _slates(data, *way), K)["ndcg"] for name, way in ways.items()}
    scores = {
        name: dict(zip(("ndcg", "low", "high"), (float(each.mean()), *bootstrap_interval(each, SEED)), strict=True))
        for name, each in ndcg.items()
    }
    share = scores["live"]["ndcg"] / scores["trained anew"]["ndcg"]
    return {"users": len(asked), "ndcg@20": scores, "live_over_trained_anew": share}


def _truth(data: Dataset, asked: list[Newcomer], count: int) -> Truth:
    """What each newcomer bought after the known events, by its place in the list."""
    later = [(place, row) for place, one in enumerate(asked) for row in one.rows[count:]]
    place, row = (np.array(column) for column in zip(*later, strict=True))
    bought = data.events.event_type[row] == EventType.PURCHASE
    return Truth.of(place[bought].astype(np.int32), data.events.item_num[row[bought]], len(data.items))


def _live_events(events: Events, rows: Sequence[int], data: Dataset) -> tuple[LiveEvent, ...]:
    """Events as a server has them: newest first."""
    ids = data.items.ids(events.item_num[list(rows)])
    told = [
        LiveEvent(item, EventType(events.event_type[row]), int(events.time[row]), float(events.price[row]))
        for item, row in zip(ids, rows, strict=True)
    ]
    return tuple(reversed(told))


def _slates(data: Dataset, recommender: Recommender, queries: list[Query]) -> Int32s:
    """int32[q, 20]: the answers, in rows of the dataset."""
    slates = np.full((len(queries), K), -1, dtype=np.int32)
    for start in range(0, len(queries), AT_ONCE):
        answer = recommender.answer(queries[start : start + AT_ONCE], time.perf_counter)
        for place, slate in enumerate(answer.slates, start):
            slates[place, : len(slate.items)] = data.items.nums([item.item_id for item in slate.items])
    return slates


def _train(data: Dataset, until: int | None) -> Recommender:
    """A recommender of default settings."""
    config = Config()
    steps = Steps(training.N_STEPS)
    try:
        trained = training.train(data, until, config, steps)
    finally:
        steps.close()
    print(trained.verdict, file=sys.stderr)
    return Recommender(Identity("", trained.until, 0), trained.model)


def table_lines(result: dict[str, Any]) -> list[str]:
    """The figures as a Markdown table."""
    lines = [
        "| live events of a new user | users | most popular | live | trained anew | live / anew |",
        "|---|---|---|---|---|---|",
    ]
    for count, figures in result["known_events"].items():
        scores = [f"{figures['ndcg@20'][name]['ndcg']:.4f}" for name in WAYS]
        lines.append(
            f"| {count} | {figures['users']:,} | {' | '.join(scores)} | {figures['live_over_trained_anew']:.0%} |"
        )
    return lines
