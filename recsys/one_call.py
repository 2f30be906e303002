"""Slates of queries that ask for nothing but the best of both stages: most queries, in one compiled call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from recsys import answer_kernels
from recsys.answer_kernels import NO_HISTORY, STAGES, Known
from recsys.asking import asked_of
from recsys.encoded_slate import REASON_EXPLORED, EncodedItems, written
from recsys.held_kernels import Held, hold
from recsys.kernel import frozen
from recsys.model import Model
from recsys.queries import QueryBatch
from recsys.scorer import Scorer
from recsys.served import popular_of
from recsys.slate import numbers_of, order_otherwise, seeds_of, side_by_side
from recsys.stages import Stopwatch, popular_slate
from recsys.types import Query, ServedFrom, ServingParameters, Slate


class OneCall:
    """Makes the slates that :mod:`recsys.stages` makes, to the last bit, where these need none of its detours.

    Args:
        model: that answers; without a scorer no slate is made here.
    """

    __slots__ = ("_known", "_model", "_slots")

    def __init__(self, model: Model) -> None:
        self._model = model
        self._slots = side_by_side(model.slots)
        self._known = self._hold(model.scorer) if isinstance(model.scorer, Scorer) else None

    def _hold(self, scorer: Scorer) -> Held:
        model, slots = self._model, self._slots
        histories = model.snapshot.histories
        parts: tuple[Any, ...] = (
            frozen(histories.indptr),
            tuple(map(frozen, histories.columns)),
            *scorer.held,
            slots.sources,
            slots.shares,
            *model.items.letters,
            *written(model.snapshot.source_names),
            REASON_EXPLORED,
        )
        return hold(Known(*parts))

    def slates(
        self, queries: Sequence[Query], batch_of: Callable[..., QueryBatch], stopwatch: Stopwatch
    ) -> list[Slate | None]:
        """One slate a query; None where its stages have to be gone through one by one.

        Args:
            queries: at least one, all served alike.
            batch_of: makes arrays of them, as :meth:`recsys.recommender.Recommender.batch` tells.
            stopwatch: learns what each stage took.

        Raises:
            Exception: whatever a stage raises.
        """
        model, parameters = self._model, queries[0].parameters
        if self._known is None or not _are_plain(queries, parameters):
            return [None] * len(queries)
        batch = batch_of(queries, unread=True)
        cut = parameters.candidates_per_source, model.blend, parameters.candidates, model.snapshot.reserved
        arguments, further = model.retriever.arguments(batch, *cut)
        sizes = [query.slate_size for query in queries]
        if further or (parameters.fill and max(sizes) > _most(batch, parameters)):
            return [None] * len(queries)
        seeds = seeds_of([query.seed for query in queries], batch.discovery, self._slots)
        wanted = np.array(sizes, dtype=np.int64), numbers_of(seeds, parameters.candidates_per_source)
        stopwatch.lap("look_up")
        out, begun, count, laps = answer_kernels.answered(self._known, batch.history.arrays, *arguments, *wanted)
        stopwatch.laps(STAGES, laps.tolist())
        data, ends, slates = out.tobytes(), begun.tolist(), list[Slate | None]()
        for row, items in enumerate(count.tolist()):
            if items == NO_HISTORY:
                popular = popular_slate(model, batch, row, asked_of(queries[row], model.items))
                slates.append(Slate(popular_of(model, popular), ServedFrom.POPULAR_CACHE))
            elif items < sizes[row] and parameters.fill:
                slates.append(None)
            else:
                slates.append(Slate(EncodedItems(data[ends[row] : ends[row + 1]], items), ServedFrom.MODEL))
        stopwatch.lap("encode")
        return slates


def _most(batch: QueryBatch, parameters: ServingParameters) -> int:
    """Items of a slate, at most, before popular ones fill it up: a longer one would be computed twice."""
    allowed = batch.allowed_items
    return min(parameters.candidates, batch.n_items if allowed is None else int(np.count_nonzero(allowed)))


def _are_plain(queries: Sequence[Query], parameters: ServingParameters) -> bool:
    """Whether queries want what both stages order, and no more than that."""
    if parameters.sources or parameters.by_cycle or not parameters.use_ranker:
        return False
    return not any(query.explain or query.trace or order_otherwise(query.rules, query.shown) for query in queries)
