"""The weights of stage 1: a search on a window that the sources have not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from recsys.candidates import rank_within
from recsys.metrics import Truth
from recsys.queries import N_MODES
from recsys.snapshot import Snapshot
from recsys.splits import Window
from recsys.types import Array, Bools, EventType, ExcludePolicy, Float32s, Float64s, Int64s
from recsys_offline.train.training_set import Replay, replay, replay_newcomers
from recsys_offline.train.workers import workers

DEPTH = 20
FACTORS = (0.0, 0.25, 0.5, 0.8, 1.25, 2.0, 4.0)
ROUNDS = 3
POSITIVES_AT_ONCE = 4_000


def weigh(
    cuts: Sequence[tuple[Window, Truth, Snapshot]],
    policies: tuple[ExcludePolicy, ...],
    targets: tuple[EventType, ...],
    k: int,
    limit: int,
    at_once: int = 1,
) -> Float32s:
    """float32[3, S]: for each mode the weights that order best what came true in some windows together.

    One window of a small shop is a few hundred users, too few to tell sources apart.

    Args:
        cuts: windows, what their users did, and the sources fitted at the cut.
        policies: those of the first two modes, or of the second alone.
        targets: event types that count.
        k: candidates from each source.
        limit: of users in a window.
        at_once: replays that run side by side.
    """
    replays = [
        [replay(snapshot, truth.thinned(limit), window.now, policy, k) for window, truth, snapshot in cuts]
        for policy in policies
    ]
    replays.append(
        [replay_newcomers(snapshot, truth, window, policies[-1], targets, k, limit) for window, truth, snapshot in cuts]
    )
    weights: list[Float32s] = []
    with workers(at_once) as pool:
        played = [[pool.submit(list, part) for part in of_mode] for of_mode in replays]
        for of_mode in played:
            parts = [part for window in of_mode for part in window.result()]
            weights.append(search(parts) if parts else weights[-1])
    return np.stack([*weights[: N_MODES - len(weights)], *weights])


def search(parts: Sequence[Replay]) -> Float32s:
    """float32[S]: the weights of the sources that order one mode's candidates best, by NDCG@20.

    Coordinate ascent from the best of equal weights and each source alone; a source that does not pay gets 0.
    """
    problem = Problem.of(parts)
    quality, n_sources = problem.ndcg, problem.scaled.shape[1]
    starts = [np.ones(n_sources, dtype=np.float32), *np.eye(n_sources, dtype=np.float32)]
    weights = max(starts, key=quality)
    best = quality(weights)
    for _ in range(ROUNDS):
        before = best
        for column in range(n_sources):
            for value in _values(weights, column):
                tried = weights.copy()
                tried[column] = value
                if tried.any() and (reached := quality(tried)) > best:
                    weights, best = tried, reached
        if best == before:
            break
    scaled_weights: Float32s = (weights / weights.max()).astype(np.float32)
    return scaled_weights


def _values(weights: Float32s, column: int) -> tuple[float, ...]:
    """What to try for one weight: multiples of it, or, where it is 0, shares of the largest."""
    base = float(weights[column]) or 0.5 * float(weights.max())
    return tuple(base * factor for factor in FACTORS)


@dataclass(frozen=True, slots=True)
class Problem:
    """The search's data, so laid out that only the places of what is relevant are computed.

    Attributes:
        scaled: float32[n, S], of all queries, one behind the other.
        start: int64[p], for each relevant candidate the first row of its query.
        width: int64[p], how many candidates its query has.
        positive: int64[p], its own row.
        share: float64[p], what a hit at rank 1 adds to the mean NDCG.
    """

    scaled: Float32s
    start: Int64s
    width: Int64s
    positive: Int64s
    share: Float64s

    @classmethod
    def of(cls, parts: Sequence[Replay]) -> Problem:
        """From the replayed queries of one mode."""
        query = np.concatenate(
            [part.candidates.query_num + offset for part, offset in zip(parts, _offsets(parts), strict=True)]
        )
        relevant = np.concatenate([part.relevant for part in parts])
        positive = np.flatnonzero(np.concatenate([part.label for part in parts]))
        bounds = np.searchsorted(query, np.arange(len(relevant) + 1))
        of = query[positive]
        ideal = np.cumsum(1 / np.log2(np.arange(2, DEPTH + 2)))[np.minimum(relevant[of], DEPTH) - 1]
        return cls(
            np.concatenate([part.candidates.scaled for part in parts]),
            bounds[of],
            bounds[of + 1] - bounds[of],
            positive,
            1 / ideal / max(int((relevant > 0).sum()), 1),
        )

    def ndcg(self, weights: Array) -> float:
        """Mean NDCG@20 under some weights; a tie counts against what is relevant."""
        score = self.scaled @ weights
        width = int(self.width.max(initial=0))
        # -inf behind the last query, so that every row can be read to the full width and then masked.
        padded = np.append(score, np.full(width, -np.inf, dtype=np.float32))
        total = 0.0
        for at in range(0, len(self.positive), POSITIVES_AT_ONCE):
            some = slice(at, at + POSITIVES_AT_ONCE)
            rows = sliding_window_view(padded, width)[self.start[some]]
            inside = np.arange(width) < self.width[some, None]
            rank = ((rows >= score[self.positive[some], None]) & inside).sum(axis=1)
            total += float((self.share[some] / np.log2(rank + 1))[rank <= DEPTH].sum())
        return total


def _offsets(parts: Sequence[Replay]) -> Array:
    """Where each part's queries start when all are numbered on."""
    return np.cumsum([0, *(len(part.batch) for part in parts[:-1])])


def ndcg_of(query_num: Array, score: Float32s, label: Bools, relevant: Array) -> Float64s:
    """float64[m]: NDCG@20 of each query that has something relevant, in their order.

    Args:
        query_num: int[n], rising.
        score: float32[n].
        label: bool[n].
        relevant: int[q], how many relevant items there are in all.
    """
    rank = rank_within(query_num, score)
    hit = label & (rank <= DEPTH)
    gain = np.bincount(query_num[hit], 1 / np.log2(rank[hit] + 1), minlength=len(relevant))
    ideal = np.cumsum(1 / np.log2(np.arange(2, DEPTH + 2)))
    counted = relevant > 0
    values: Float64s = gain[counted] / ideal[np.minimum(relevant[counted], DEPTH) - 1]
    return values
