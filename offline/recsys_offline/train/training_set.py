"""The ranker's training set: cuts of the past replayed with the state as it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from recsys import features
from recsys.candidates import Candidates, rank_within
from recsys.config import Config
from recsys.metrics import Truth
from recsys.queries import QueryBatch, contains, for_histories, for_users
from recsys.ranker import TrainingSet
from recsys.retriever import retrieve
from recsys.snapshot import Snapshot
from recsys.splits import Window
from recsys.types import Bools, EventType, ExcludePolicy, Float32s, Int32s, Int64s
from recsys.vocabulary import UNKNOWN
from recsys_offline.train import visits

QUERIES_AT_ONCE = 2_000
NEWCOMERS_SHARE = 1.0


def modes(targets: tuple[EventType, ...]) -> tuple[ExcludePolicy, ExcludePolicy]:
    """The two ways in which slates are asked for: everything may come again, or only what is new to the user.

    What is new follows from what the ranker predicts: where the shop has no purchases, it is what was never touched.
    """
    return ExcludePolicy.NONE, ExcludePolicy.PURCHASED if targets == (EventType.PURCHASE,) else ExcludePolicy.SEEN


@dataclass(frozen=True, slots=True)
class Replay:
    """The candidates of a window's users under one policy, and which of them came true.

    Attributes:
        batch: the queries, one for each user of the truth.
        candidates: what stage 1 proposed.
        label: bool[n], whether the user acted on the candidate in the window.
        relevant: int32[q], how many items of the truth could have been proposed.
    """

    batch: QueryBatch
    candidates: Candidates
    label: Bools
    relevant: Int32s

    def best(self, blend: Float32s, limit: int, reserved: Bools) -> tuple[Replay, Float32s]:
        """The candidates that the ranker would see, and stage 1's scores of them."""
        score = self.candidates.blend(blend, self.batch.mode)
        kept = self.candidates.best(score, limit, reserved)
        return Replay(self.batch, self.candidates.where(kept), self.label[kept], self.relevant), score[kept]


def window_truth(window: Window, n_users: int, n_items: int, limit: int, seed: int) -> Truth:
    """What the window's users did; at most ``limit`` users, drawn by seed, and none who is new in the window."""
    known = np.zeros(n_users, dtype=bool)
    known[window.past.user_num[window.past.user_num < n_users]] = True
    future = window.future.where(window.future.user_num < n_users)
    future = future.where(known[future.user_num])
    users = np.unique(future.user_num)
    if len(users) > limit:
        users = np.sort(np.random.default_rng([seed, abs(window.now)]).choice(users, limit, replace=False))
        future = future.where(np.isin(future.user_num, users))
    return Truth.of(future.user_num, future.item_num, n_items)


def replay(snapshot: Snapshot, truth: Truth, now: int, policy: ExcludePolicy, k: int) -> Iterator[Replay]:
    """Chunks of queries at one cut: nothing but the snapshot is looked at to propose, the truth only to label."""
    for start in range(0, len(truth), QUERIES_AT_ONCE):
        own = truth.slice(start, min(start + QUERIES_AT_ONCE, len(truth)))
        yield _asked(snapshot, own, for_users(snapshot.histories, own.user_num, now, own.n_items, policy), k)


def replay_newcomers(
    snapshot: Snapshot,
    truth: Truth,
    window: Window,
    policy: ExcludePolicy,
    targets: tuple[EventType, ...],
    k: int,
    limit: int,
) -> Iterator[Replay]:
    """Queries of users of whom little or nothing is known but what they have just done.

    In a window of time users in the middle of a visit; where items are hidden, at most ``limit`` users as if
    nothing but the last few events were known.
    """
    drawn = _newcomers(snapshot, truth, window, targets, limit)
    for start in range(0, len(drawn.truth), QUERIES_AT_ONCE):
        rows = np.arange(start, min(start + QUERIES_AT_ONCE, len(drawn.truth)))
        unknown = np.full(len(rows), UNKNOWN, dtype=np.int32)
        history, now = drawn.history.rows(rows), drawn.now[rows]
        batch = for_histories(history, unknown, now, snapshot.n_items, policy)
        yield _asked(snapshot, drawn.truth.slice(start, start + len(rows)), batch, k)


def _newcomers(
    snapshot: Snapshot, truth: Truth, window: Window, targets: tuple[EventType, ...], limit: int
) -> visits.Visits:
    """Who is asked for as a newcomer; equal for equal windows."""
    random = np.random.default_rng([snapshot.stats.until % 2**31, len(truth)])
    if window.after is not None:
        return visits.draw(window.past, window.after, len(snapshot.histories), truth.n_items, targets, limit, random)
    own = truth.thinned(limit)
    known = random.integers(1, visits.MOST_KNOWN_ITEMS + 1, len(own))
    history = snapshot.histories.rows(own.user_num).newest(known)
    return visits.Visits(own, history, np.full(len(own), window.now, dtype=np.int64))


def _asked(snapshot: Snapshot, truth: Truth, batch: QueryBatch, k: int) -> Replay:
    """The candidates of a batch, labelled by the truth of the same users."""
    return labelled(batch, truth, retrieve(snapshot.sources, batch, k))


def labelled(batch: QueryBatch, truth: Truth, candidates: Candidates) -> Replay:
    """Candidates of a batch, one query for each user of the truth, with what came true."""
    reachable = ~contains(batch.excluded, truth.keys)
    relevant = np.bincount(truth.keys[reachable] // truth.n_items, minlength=len(batch)).astype(np.int32)
    label = contains(truth.keys, batch.keys(candidates.query_num, candidates.item_num))
    return Replay(batch, candidates, label, relevant)


def sample(part: Replay, negatives: int, random: np.random.Generator) -> Int64s:
    """Positions of the rows to learn from: in groups with a positive, all positives and ``negatives`` random others."""
    query, label = part.candidates.query_num, part.label
    draw = np.where(label, 2.0, random.random(len(label))).astype(np.float32)  # positives come first
    place = rank_within(query, draw)
    positives = np.bincount(query, label, minlength=len(part.batch))
    quota = np.where(positives > 0, positives + negatives, 0)
    return np.flatnonzero(place <= quota[query])


def build(
    snapshot: Snapshot,
    truth: Truth,
    window: Window,
    policies: tuple[ExcludePolicy, ...],
    targets: tuple[EventType, ...],
    blend: Float32s,
    config: Config,
) -> TrainingSet:
    """One window's part of the training set, for all modes."""
    random = np.random.default_rng([config.train.seed, abs(window.now)])
    k = config.retrieval.candidates_per_source
    replays = [replay(snapshot, truth, window.now, policy, k) for policy in policies]
    replays.append(
        replay_newcomers(snapshot, truth, window, policies[-1], targets, k, int(NEWCOMERS_SHARE * len(truth)))
    )
    parts: list[TrainingSet] = []
    for part in chain(*replays):
        best, score = part.best(blend, config.retrieval.candidates, snapshot.reserved)
        context = features.Context(best.batch, best.candidates, score, snapshot.stats)
        kept = sample(best, config.ranker.negatives, random)
        label = best.label[kept].astype(np.float32)
        parts.append(TrainingSet(features.matrix(context)[kept], label, best.candidates.query_num[kept]))
    return concatenate(parts)


def concatenate(parts: list[TrainingSet]) -> TrainingSet:
    """One training set of many; groups must already be apart inside each part, and are set apart across parts."""
    offsets = np.cumsum([0] + [int(part.group[-1]) + 1 if len(part) else 0 for part in parts[:-1]])
    return TrainingSet(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.group + offset for part, offset in zip(parts, offsets, strict=True)]).astype(np.int32),
    )
