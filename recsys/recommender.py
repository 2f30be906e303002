"""The line that everything else feeds or serves: retrieve, featurise, rank, slate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from recsys import features
from recsys.queries import QueryBatch, exclusions, for_users
from recsys.ranker import Ranker
from recsys.slate import FILL, RankedItems, Slots, assemble, popular_items
from recsys.snapshot import Snapshot
from recsys.sources import Candidates, PopularitySource, given, retrieve
from recsys.types import (
    Answer,
    EventType,
    ExcludePolicy,
    Float32s,
    Int32s,
    Int64s,
    Query,
    ServedFrom,
    ServingParameters,
    Slate,
    SlateItem,
)
from recsys.vocabulary import UNKNOWN, Vocabulary

Timer = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Identity:
    """Which bundle this is: its id, the end of its data and the time it was made (unix seconds)."""

    bundle_id: str
    until: int
    created_time: int


@dataclass(frozen=True, slots=True)
class Model:
    """All that answers are computed from.

    Attributes:
        users: ids of the snapshot's histories.
        items: ids of the catalogue.
        snapshot: state at the end of the bundle's data.
        blend: float32[3, S], weights of the sources in stage 1's order, as in Candidates.blend.
        ranker: stage 2; None where it did not beat stage 1.
        latest: unix seconds; later queries count as asked then, as the ranker has never seen greater ages, and earlier
            ones than the bundle's end as asked at that.
        slots: places kept for some sources.
    """

    users: Vocabulary
    items: Vocabulary
    snapshot: Snapshot
    blend: Float32s
    ranker: Ranker | None
    latest: int
    slots: tuple[Slots, ...] = ()

    @property
    def popular(self) -> PopularitySource:
        """The source that fills slates and answers where nothing is known."""
        return next(source for source in self.snapshot.sources if isinstance(source, PopularitySource))


@dataclass(frozen=True, slots=True)
class Ranked:
    """Slates of a batch as rows, with the candidates they were made of and the failures on the way."""

    slates: list[RankedItems]
    candidates: Candidates | None
    degraded: tuple[str, ...]
    errors: tuple[Exception, ...]


class Recommender:
    """Answers queries from one bundle; safe to share between threads, as nothing in it changes."""

    __slots__ = ("identity", "model")

    def __init__(self, identity: Identity, model: Model) -> None:
        self.identity = identity
        self.model = model

    @property
    def bundle_id(self) -> str:
        """Id of the bundle."""
        return self.identity.bundle_id

    @property
    def until(self) -> int:
        """End of the data that the bundle was made from, unix seconds."""
        return self.identity.until

    @property
    def created_time(self) -> int:
        """When the bundle was made, unix seconds."""
        return self.identity.created_time

    def is_personal(self, query: Query) -> bool:
        """Whether anything is known of who asks: the user has a history, or a seed item is known."""
        histories = self.model.snapshot.histories
        user = self.model.users.num(query.user_id)
        if user != UNKNOWN and histories.indptr[user + 1] > histories.indptr[user]:
            return True
        return any(self.model.items.num(item) != UNKNOWN for item in query.seed_item_ids)

    def answer(self, queries: Sequence[Query], timer: Timer) -> Answer:
        """One slate for each query, in order.

        A stage that fails degrades its answers instead of raising: without the ranker to retrieval order, without
        retrieval to the popular slate.

        Args:
            queries: any number.
            timer: a clock in seconds, for the stages' durations.
        """
        slates: dict[int, Slate] = {}
        errors: list[Exception] = []
        stopwatch = Stopwatch(timer)
        by_parameters: dict[ServingParameters, list[int]] = {}
        for place, query in enumerate(queries):
            by_parameters.setdefault(query.parameters, []).append(place)
        for parameters, places in by_parameters.items():
            part = [queries[place] for place in places]
            batch = self._batch(part)
            ranked = self.rank(batch, [query.slate_size for query in part], parameters, stopwatch)
            errors += ranked.errors
            slates |= {place: self._slate(batch, row, ranked) for row, place in enumerate(places)}
            stopwatch.lap("slate")
        return Answer(tuple(slates[place] for place in range(len(queries))), stopwatch.seconds, tuple(errors))

    def rank(self, batch: QueryBatch, sizes: list[int], parameters: ServingParameters, stopwatch: Stopwatch) -> Ranked:
        """Slates of a batch as rows: the same for a request, a batch job and an evaluation."""
        try:
            candidates = retrieve(self.model.snapshot.sources, batch, parameters.candidates_per_source)
            blend = candidates.blend(self.model.blend, batch.mode)
            kept = candidates.best(blend, parameters.candidates, self.model.snapshot.reserved)
            candidates, blend = candidates.where(kept), blend[kept]
        except Exception as error:  # noqa: BLE001 - whatever failed, the shop gets a slate; the caller logs the error
            slates = [popular_items(batch, row, size, self.model.popular) for row, size in enumerate(sizes)]
            return Ranked(slates, None, ("retrieval",), (error,))
        stopwatch.lap("retrieve")
        score = blend
        errors: tuple[Exception, ...] = ()
        if parameters.use_ranker and self.model.ranker is not None and len(candidates):
            score, errors = self._score(self.model.ranker, batch, candidates, blend, stopwatch)
        slates = assemble(batch, candidates, score, sizes, self.model.popular, self.model.slots)
        for row in np.flatnonzero(np.diff(batch.history.indptr) == 0):
            slates[row] = popular_items(batch, int(row), sizes[row], self.model.popular)
        stopwatch.lap("slate")
        return Ranked(slates, candidates, ("ranker",) if errors else (), errors)

    def _score(
        self, ranker: Ranker, batch: QueryBatch, candidates: Candidates, blend: Float32s, stopwatch: Stopwatch
    ) -> tuple[Float32s, tuple[Exception, ...]]:
        """The ranker's scores; stage 1's, with the error, where it fails."""
        try:
            matrix = features.matrix(features.Context(batch, candidates, blend, self.model.snapshot.stats))
            stopwatch.lap("featurise")
            score = ranker.score(matrix)
            stopwatch.lap("rank")
        except Exception as error:  # noqa: BLE001 - retrieval order is still a good answer; the caller logs the error
            return blend, (error,)
        return score, ()

    def rank_given(
        self, batch: QueryBatch, keys: Int64s, parameters: ServingParameters
    ) -> tuple[Candidates, Float32s, Float32s]:
        """The caller's own candidates, the scores of stage 1 and those of both stages: float32[n] each.

        Args:
            batch: the queries.
            keys: int64[n], rising: pairs of query and item, as ``batch.keys`` numbers them.
            parameters: how to serve.

        Raises:
            Exception: whatever a stage raises; a caller's own order is no worse than a part of ours.
        """
        candidates = given(self.model.snapshot.sources, batch, parameters.candidates_per_source, keys)
        blend = candidates.blend(self.model.blend, batch.mode)
        if self.model.ranker is None or not parameters.use_ranker or len(candidates) == 0:
            return candidates, blend, blend
        matrix = features.matrix(features.Context(batch, candidates, blend, self.model.snapshot.stats))
        return candidates, blend, self.model.ranker.score(matrix)

    def user_batch(self, user_num: Int32s, policy: ExcludePolicy) -> QueryBatch:
        """Queries of these users at the end of the bundle's data."""
        return for_users(self.model.snapshot.histories, user_num, self.until, len(self.model.items), policy)

    def _batch(self, queries: list[Query]) -> QueryBatch:
        """Queries of the wire as arrays."""
        model = self.model
        seeds = [_known(model.items, query.seed_item_ids) for query in queries]
        user_num = np.array([model.users.num(query.user_id) for query in queries], dtype=np.int32)
        now = np.array([query.now for query in queries], dtype=np.int64).clip(self.until, model.latest)
        seeded = np.array([len(items) > 0 for items in seeds])
        history = model.snapshot.histories.rows(user_num)
        if seeded.any():
            history = history.preceded_by(seeds, now, EventType.VIEW_ITEM)
        policies = [query.parameters.exclude_policy for query in queries]
        further = [
            np.concatenate([_known(model.items, query.exclude_item_ids), seed])
            for query, seed in zip(queries, seeds, strict=True)
        ]
        return QueryBatch(
            user_num=np.where(seeded, UNKNOWN, user_num).astype(np.int32),
            now=now,
            history=history,
            discovery=np.array([policy != ExcludePolicy.NONE for policy in policies]),
            n_items=len(model.items),
            excluded=exclusions(history, policies, len(model.items), further),
        )

    def _slate(self, batch: QueryBatch, row: int, ranked: Ranked) -> Slate:
        """One slate of the wire."""
        model, degraded, items = self.model, ranked.degraded, ranked.slates[row]
        known = batch.history.indptr[row + 1] > batch.history.indptr[row]
        if not known or ranked.candidates is None:
            degraded = degraded if ranked.candidates is None else ()
            proposed: list[tuple[str, ...]] = [("popularity",)] * len(items.item_num)
            served_from = ServedFrom.FALLBACK if degraded else ServedFrom.POPULAR_CACHE
        else:
            served_from = ServedFrom.MODEL
            proposed = _proposers(model.snapshot.source_names, ranked.candidates, items)
        ids = model.items.ids(items.item_num)
        rows = zip(ids, items.score.tolist(), proposed, strict=True)
        return Slate(tuple(SlateItem(*row) for row in rows), served_from, degraded)


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


def _known(vocabulary: Vocabulary, ids: tuple[str, ...]) -> Int32s:
    """The rows of the known ids, in order, each once."""
    nums = (vocabulary.num(text) for text in ids)
    return np.array(list(dict.fromkeys(num for num in nums if num != UNKNOWN)), dtype=np.int32)


def _proposers(names: tuple[str, ...], candidates: Candidates, items: RankedItems) -> list[tuple[str, ...]]:
    """The names of the sources that proposed each item, in alphabetical order."""
    order = sorted(range(len(names)), key=names.__getitem__)
    proposed = np.isfinite(candidates.rank[np.maximum(items.position, 0)])[:, order].tolist()
    ordered = [names[column] for column in order]
    return [
        ("fill",) if position == FILL else tuple(name for name, here in zip(ordered, row, strict=True) if here)
        for position, row in zip(items.position.tolist(), proposed, strict=True)
    ]
