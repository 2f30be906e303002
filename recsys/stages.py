"""The line that everything else feeds or serves: retrieve, featurise, rank, slate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from recsys import features
from recsys.candidates import Candidates, given
from recsys.cycle import due_rates
from recsys.model import Model
from recsys.queries import QueryBatch
from recsys.ranked_items import NOTHING, RankedItems, RankedSlates
from recsys.retriever import Retriever
from recsys.slate import TINY, Asked, assemble, popular_items
from recsys.types import Float32s, Int64s, ServingParameters

Timer = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Ranked:
    """Slates of a batch as rows, and what they were made of.

    Attributes:
        slates: one for each query.
        candidates: None where retrieval failed.
        names: of the sources that proposed them, in the order of their columns.
        degraded: stages that failed.
        errors: the failures.
        context: what features of the candidates are made of; None where the ranker did not score them.
    """

    slates: RankedSlates
    candidates: Candidates | None
    names: tuple[str, ...]
    degraded: tuple[str, ...] = ()
    errors: tuple[Exception, ...] = ()
    context: features.Context | None = None


class Stopwatch:
    """Adds up the seconds of stages, each lap since the one before."""

    __slots__ = ("_last", "_timer", "seconds")

    def __init__(self, timer: Timer) -> None:
        self._timer = timer
        self._last = timer()
        self.seconds: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """The time since the last lap belongs to this stage."""
        now = self._timer()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now

    def laps(self, stages: Sequence[str], parts: Sequence[float]) -> None:
        """The time since the last lap belongs to these stages, in these parts."""
        now = self._timer()
        share = (now - self._last) / (sum(parts) or 1.0)
        for stage, part in zip(stages, parts, strict=True):
            self.seconds[stage] = self.seconds.get(stage, 0.0) + part * share
        self._last = now


def rank(
    model: Model, batch: QueryBatch, asked: Sequence[Asked], parameters: ServingParameters, stopwatch: Stopwatch
) -> Ranked:
    """Slates of a batch as rows; a stage that fails leaves what the stages before it know."""
    names = model.snapshot.source_names
    try:
        candidates, blend = _candidates(model, batch, parameters)
    except Exception as error:  # noqa: BLE001 - whatever failed, the shop gets a slate; the caller logs the error
        return _popular(model, batch, asked, error)
    stopwatch.lap("retrieve")
    score, context, errors = _scored(model, batch, candidates, blend, parameters, stopwatch)
    margin = score if context is not None else _as_margin(score, candidates, asked)
    slates = assemble(batch, candidates, margin, asked, model.popular, model.slots, model.shelf)
    starts = batch.history.indptr.tolist()
    for row, each in enumerate(asked):
        if starts[row] == starts[row + 1]:
            slates.apart[row] = popular_slate(model, batch, row, each)
    stopwatch.lap("slate")
    return Ranked(slates, candidates, names, ("ranker",) if errors else (), errors, context)


def _candidates(model: Model, batch: QueryBatch, parameters: ServingParameters) -> tuple[Candidates, Float32s]:
    """Those that go on to stage 2, and stage 1's score of each, float32[n]."""
    k, limit, reserved = parameters.candidates_per_source, parameters.candidates, model.snapshot.reserved
    if not parameters.sources:
        return model.retriever.leading(batch, k, model.blend, limit, reserved)
    candidates = model.retriever.retrieve(batch, k)
    chosen = candidates.proposed_by(np.isin(model.snapshot.source_names, parameters.sources))
    return candidates.where(chosen).leading(model.blend, batch.mode, limit, reserved)


def rank_similar(
    model: Model,
    retriever: Retriever,
    weights: Float32s,
    batch: QueryBatch,
    asked: Sequence[Asked],
    parameters: ServingParameters,
    stopwatch: Stopwatch,
) -> Ranked:
    """As :func:`rank`, of items like those of the histories.

    Args:
        model: all else.
        retriever: by the sources of similar items.
        weights: float32[S'], of the sources.
        batch: the queries; their histories are the items.
        asked: by each query.
        parameters: how to serve.
        stopwatch: learns what each stage took.
    """
    try:
        depth = max(parameters.candidates_per_source, *(each.size for each in asked))
        candidates = retriever.retrieve(batch, depth)
        score: Float32s = candidates.scaled @ weights
    except Exception as error:  # noqa: BLE001 - as in rank
        return _popular(model, batch, asked, error)
    stopwatch.lap("retrieve")
    margin = _as_margin(score, candidates, asked)
    slates = assemble(batch, candidates, margin, asked, model.popular, (), model.shelf)
    stopwatch.lap("slate")
    return Ranked(slates, candidates, retriever.names)


def rank_given(
    model: Model, batch: QueryBatch, keys: Int64s, parameters: ServingParameters
) -> tuple[Candidates, Float32s, Float32s]:
    """The caller's own candidates, the scores of stage 1 and those of both stages: float32[n] each.

    Args:
        model: all that the scores are computed from.
        batch: the queries.
        keys: int64[n], rising: pairs of query and item, as ``batch.keys`` numbers them.
        parameters: how to serve.

    Raises:
        Exception: whatever a stage raises; a caller's own order is no worse than a part of ours.
    """
    candidates = given(model.snapshot.sources, batch, parameters.candidates_per_source, keys)
    blend = candidates.blend(model.blend, batch.mode)
    if model.scorer is None or not parameters.use_ranker or len(candidates) == 0:
        return candidates, blend, blend
    return candidates, blend, model.scorer.score(features.Context(batch, candidates, blend, model.snapshot.stats))


def _scored(
    model: Model,
    batch: QueryBatch,
    candidates: Candidates,
    blend: Float32s,
    parameters: ServingParameters,
    stopwatch: Stopwatch,
) -> tuple[Float32s, features.Context | None, tuple[Exception, ...]]:
    """The ranker's scores, and of what; else rates by the user's cycle, or stage 1's scores, with what failed."""
    scorer = model.scorer if parameters.use_ranker else None
    if len(candidates) == 0 or not (scorer or parameters.by_cycle):
        return blend, None, ()
    context = features.Context(batch, candidates, blend, model.snapshot.stats)
    try:
        if parameters.by_cycle or scorer is None:
            matrix = features.matrix(context)
            stopwatch.lap("featurise")
            return due_rates(matrix, features.feature_names(model.snapshot.source_names)), None, ()
        score = scorer.score(context)
        stopwatch.lap("rank")
    except Exception as error:  # noqa: BLE001 - retrieval order is still a good answer; the caller logs the error
        return blend, None, (error,)
    return score, context, ()


def _popular(model: Model, batch: QueryBatch, asked: Sequence[Asked], error: Exception) -> Ranked:
    """The popular slates of a batch for which retrieval failed."""
    slates = [popular_slate(model, batch, row, each) for row, each in enumerate(asked)]
    return Ranked(RankedSlates.of(slates), None, (), ("retrieval",), (error,))


def popular_slate(model: Model, batch: QueryBatch, row: int, asked: Asked) -> RankedItems:
    """The popular slate; an empty one where popular items must not fill up."""
    return popular_items(batch, row, asked, model.popular, model.shelf) if asked.fill else NOTHING


def _as_margin(score: Float32s, candidates: Candidates, asked: Sequence[Asked]) -> Float32s:
    """Stage 1's scores float32[n]; their logarithms for queries whose rules multiply odds."""
    ruled = np.array([each.is_ruled for each in asked], dtype=bool)[candidates.query_num]
    return np.where(ruled, np.log(np.maximum(score, np.float32(TINY))), score) if ruled.any() else score
