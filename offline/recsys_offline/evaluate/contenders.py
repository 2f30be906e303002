"""Who competes in an evaluation: most popular, each source alone, stage 1 merged, both stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from recsys.candidates import Candidates
from recsys.queries import QueryBatch
from recsys.recommender import Recommender
from recsys.slate import Asked, popular_items
from recsys.sources import CandidateSource, PopularitySource
from recsys.stages import Stopwatch
from recsys.types import ExcludePolicy, Float32s, Int32s, ServingParameters

STAGE_1 = "stage 1 merged"
TWO_STAGE = "two-stage"
MOST_POPULAR = "most popular"
QUERIES_AT_ONCE = 2_000

Contender = Callable[[QueryBatch, int], Int32s]
"""Slates int32[q, k] of a batch, -1 after the last item."""
Scored = tuple[Candidates, Float32s, Float32s]
"""Candidates, their scores in stage 1 and in both stages."""


def contenders(recommender: Recommender, parameters: ServingParameters) -> dict[str, Contender]:
    """All rows of a report, in its order; without ``two-stage`` where the bundle has no ranker."""
    model = recommender.model
    everything = PopularitySource.of(model.snapshot.stats.column("item_interactions"))
    rows: dict[str, Contender] = {MOST_POPULAR: _popular(everything)}
    rows |= {source.name: _alone(source) for source in model.snapshot.sources}
    rows[STAGE_1] = _stages(recommender, replace(parameters, use_ranker=False))
    if model.ranker is not None:
        rows[TWO_STAGE] = _stages(recommender, parameters)
    return rows


def contenders_among(recommender: Recommender, parameters: ServingParameters, item_num: Int32s) -> dict[str, Contender]:
    """The rows that rank these items (int32[n], rising) alone: each source, stage 1 merged, both stages."""

    def ranked_by(column: Callable[[Scored], Float32s]) -> Contender:
        def slates(batch: QueryBatch, k: int) -> Int32s:
            query = np.repeat(np.arange(len(batch)), len(item_num))
            keys = batch.keys(query, np.tile(item_num, len(batch)))
            score = column(recommender.rank_given(batch, keys, parameters)).reshape(len(batch), len(item_num))
            best: Int32s = item_num[np.argsort(-score, axis=1, kind="stable")[:, :k]]
            return best

        return slates

    names = recommender.model.snapshot.source_names
    rows = {name: ranked_by(partial(_score_of, at)) for at, name in enumerate(names)}
    rows[STAGE_1] = ranked_by(lambda scored: scored[1])
    if recommender.model.ranker is not None:
        rows[TWO_STAGE] = ranked_by(lambda scored: scored[2])
    return rows


def _score_of(column: int, scored: Scored) -> Float32s:
    """One source's scores."""
    return scored[0].score[:, column]


def _popular(source: PopularitySource) -> Contender:
    def slates(batch: QueryBatch, k: int) -> Int32s:
        return np.stack([_padded(popular_items(batch, row, Asked(k), source).item_num, k) for row in range(len(batch))])

    return slates


def _alone(source: CandidateSource) -> Contender:
    def slates(batch: QueryBatch, k: int) -> Int32s:
        return source.propose(batch, k).item_num

    return slates


def _stages(recommender: Recommender, parameters: ServingParameters) -> Contender:
    def slates(batch: QueryBatch, k: int) -> Int32s:
        ranked = recommender.rank(batch, [Asked(k)] * len(batch), parameters, Stopwatch(lambda: 0.0))
        for error in ranked.errors:
            raise error
        return np.stack([_padded(slate.item_num, k) for slate in ranked.slates])

    return slates


def _padded(item_num: Int32s, k: int) -> Int32s:
    """A row of k items: -1 after the last."""
    return np.pad(item_num, (0, k - len(item_num)), constant_values=-1)


def batches(recommender: Recommender, user_num: Int32s, policy: ExcludePolicy) -> Iterator[QueryBatch]:
    """Queries of many users in batches of bounded size."""
    for start in range(0, len(user_num), QUERIES_AT_ONCE):
        yield recommender.user_batch(user_num[start : start + QUERIES_AT_ONCE], policy)
