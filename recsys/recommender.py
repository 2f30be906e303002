"""What a bundle answers: slates, similar items, and the order of given ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from recsys import stages
from recsys.asking import asked_of, batch_of, known_items, needs_histories
from recsys.candidates import Candidates
from recsys.interactions import UNREAD, Histories
from recsys.model import Model
from recsys.one_call import OneCall
from recsys.queries import QueryBatch, for_users
from recsys.rules import EVERY_ITEM
from recsys.served import proposers, slates_of
from recsys.similar import similar_sources
from recsys.slate import Asked
from recsys.stages import Ranked, Stopwatch, Timer
from recsys.types import (
    Answer,
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
from recsys.vocabulary import UNKNOWN

Together = Callable[[Sequence[Query], Stopwatch], tuple[list[Slate], list[Exception]]]
Rank = Callable[[QueryBatch, Sequence[Asked], ServingParameters, Stopwatch], Ranked]


@dataclass(frozen=True, slots=True)
class Identity:
    """Which bundle this is: its id, the end of its data and the time it was made (unix seconds)."""

    bundle_id: str
    until: int
    created_time: int


class Recommender:
    """Answers queries from one bundle; safe to share between threads, as nothing in it changes.

    Attributes:
        identity: of the bundle.
        bundle_id: its id.
        until: end of the data that it was made from, unix seconds.
        model: all that answers are computed from.
    """

    __slots__ = ("_one_call", "_rank_similar", "bundle_id", "identity", "model", "until")

    def __init__(self, identity: Identity, model: Model) -> None:
        self.identity = identity
        self.bundle_id, self.until = identity.bundle_id, identity.until
        self.model = model
        self._one_call = OneCall(model)
        self._rank_similar = partial(stages.rank_similar, model, *similar_sources(model.snapshot.sources, model.blend))

    @property
    def created_time(self) -> int:
        """When the bundle was made, unix seconds."""
        return self.identity.created_time

    @property
    def catalogue_version(self) -> int:
        """Of the last change of items that is in force."""
        return self.model.catalogue.version

    def is_personal(self, query: Query) -> bool:
        """Whether anything is known of who asks: a history, live events, or a seed item."""
        histories, items = self.model.snapshot.histories, self.model.items
        user = self.model.users.num(query.user_id)
        if user != UNKNOWN and histories.indptr[user + 1] > histories.indptr[user]:
            return True
        if any(items.num(item) != UNKNOWN for item in query.seed_item_ids):
            return True
        live = query.live_events and self.model.live.of(query.user_id, query.live_events)["item_num"]
        return any(item != UNKNOWN for item in live)

    def answer(self, queries: Sequence[Query], timer: Timer) -> Answer:
        """One slate for each query, in order.

        A stage that fails degrades its answers instead of raising: without the ranker to retrieval order, without
        retrieval to the popular slate. Where one query makes a stage fail, the others stay whole.

        Args:
            queries: any number.
            timer: a clock in seconds, for the stages' durations.
        """
        return self._grouped(queries, timer, self._at_once)

    def similar(self, queries: Sequence[Query], timer: Timer) -> Answer:
        """Items like each query's seed items, as :meth:`answer` otherwise; nothing of who asks comes into it."""
        impersonal = [query._replace(user_id="", live_events=(), shown=(), explain=False) for query in queries]
        return self._grouped(impersonal, timer, partial(self._by_stages, rank=self._rank_similar))

    def rank_items(self, queries: Sequence[Query], timer: Timer) -> Answer:
        """The caller's own candidates, which stand in place of each query's seed items, best first for its user.

        All come back, each once; those that are not in the catalogue stand last, in the order given. Rules have no say.
        A stage that fails degrades the order.
        """
        stopwatch = Stopwatch(timer)
        ordered = []
        for query in queries:
            ordered.append(self._ordered(query))
            stopwatch.lap("rank")
        errors = [error for _, failures in ordered for error in failures]
        return Answer(tuple(slate for slate, _ in ordered), stopwatch.seconds, _distinct(errors))

    def rank(
        self, batch: QueryBatch, asked: Sequence[Asked], parameters: ServingParameters, stopwatch: Stopwatch
    ) -> Ranked:
        """Slates of a batch as rows: the same for a request, a batch job and an evaluation."""
        return stages.rank(self.model, batch, asked, parameters, stopwatch)

    def rank_given(
        self, batch: QueryBatch, keys: Int64s, parameters: ServingParameters
    ) -> tuple[Candidates, Float32s, Float32s]:
        """The caller's own candidates and their scores, as :func:`recsys.stages.rank_given` tells."""
        return stages.rank_given(self.model, batch, keys, parameters)

    def user_batch(self, user_num: Int32s, policy: ExcludePolicy) -> QueryBatch:
        """Queries of these users at the end of the bundle's data, for what could be served then."""
        batch = for_users(self.model.snapshot.histories, user_num, self.until, len(self.model.items), policy)
        return replace(batch, allowed_items=self.model.catalogue.servable(self.until))

    def _grouped(self, queries: Sequence[Query], timer: Timer, together: Together) -> Answer:
        """Queries that are served alike are answered together."""
        stopwatch = Stopwatch(timer)
        groups = _alike(queries)
        if len(groups) == 1:
            slates, failures = together(queries, stopwatch)
            return Answer(tuple(slates), stopwatch.seconds, _distinct(failures))
        placed: dict[int, Slate] = {}
        errors: list[Exception] = []
        for places in groups:
            slates, failures = together([queries[place] for place in places], stopwatch)
            placed |= zip(places, slates, strict=True)
            errors += failures
        return Answer(tuple(placed[place] for place in range(len(queries))), stopwatch.seconds, _distinct(errors))

    def _at_once(self, queries: Sequence[Query], stopwatch: Stopwatch) -> tuple[list[Slate], list[Exception]]:
        """The slates of queries of one group in one compiled call, as far as that makes them; the others by stages.

        So are they where it fails, which tells what failed.
        """
        failed: list[Exception] = []
        try:
            found = self._one_call.slates(queries, self.batch, stopwatch)
        except Exception as error:  # noqa: BLE001 - whatever failed, the stages one by one may still answer
            found, failed = [None] * len(queries), [error]
        left = [place for place, slate in enumerate(found) if slate is None]
        if left:
            slates, errors = self._by_stages([queries[place] for place in left], stopwatch, self.rank)
            for place, slate in zip(left, slates, strict=True):
                found[place] = slate
            failed = errors or failed
        return [slate for slate in found if slate is not None], failed

    def _by_stages(
        self, queries: Sequence[Query], stopwatch: Stopwatch, rank: Rank
    ) -> tuple[list[Slate], list[Exception]]:
        """The slates of queries of one group; of each alone where they fail together, so that the others stay whole."""
        batch = self.batch(queries)
        asked = [asked_of(query, self.model.items) for query in queries]
        stopwatch.lap("look_up")
        ranked = rank(batch, asked, queries[0].parameters, stopwatch)
        if ranked.errors and len(queries) > 1:
            alone = [self._by_stages([query], stopwatch, rank) for query in queries]
            return [slates[0] for slates, _ in alone], [error for _, errors in alone for error in errors]
        slates = slates_of(self.model, batch, ranked, queries)
        stopwatch.lap("encode")
        return slates, [*ranked.errors]

    def batch(self, queries: Sequence[Query], *, unread: bool = False) -> QueryBatch:
        """Queries of one condition and time as arrays.

        Args:
            queries: at least one.
            unread: whether histories may be left to who asks, where nothing else needs them.
        """
        model, first = self.model, queries[0]
        allowed = model.catalogue.servable(first.now)
        if first.rules.condition != EVERY_ITEM:
            wanted = model.catalogue.mask(first.rules.condition, model.items)
            allowed = wanted if allowed is None else wanted & allowed
        window = (self.identity.until, model.latest)
        history_of = model.history_of
        if unread and not needs_histories(queries) and not model.retriever.reads_histories(allowed):
            history_of = _unread
        return batch_of(queries, model.users, model.items, model.live, history_of, window, allowed)

    def _ordered(self, query: Query) -> tuple[Slate, list[Exception]]:
        """One query's own candidates as a slate, and what failed on the way."""
        items, ids = self.model.items, tuple(dict.fromkeys(query.seed_item_ids))
        nums = known_items(items, ids)
        errors: list[Exception] = []
        asked = query._replace(seed_item_ids=())
        scored = self._scored(asked, nums, errors) if self.is_personal(asked) and len(nums) else None
        score, proposed = scored or (self.model.popular.popularity[nums], [("popularity",)] * len(nums))
        order = np.argsort(-score, kind="stable").tolist()
        known = items.ids(nums)
        ordered = [SlateItem(known[at], float(score[at]), proposed[at]) for at in order]
        last, found = ordered[-1].score if ordered else 0.0, set(known)
        ordered += [SlateItem(item_id, last, ()) for item_id in ids if item_id not in found]
        if scored:
            return Slate(tuple(ordered), ServedFrom.MODEL, ("ranker",) if errors else ()), errors
        served_from = ServedFrom.FALLBACK if errors else ServedFrom.POPULAR_CACHE
        return Slate(tuple(ordered), served_from, ("retrieval",) if errors else ()), errors

    def _scored(
        self, query: Query, nums: Int32s, errors: list[Exception]
    ) -> tuple[Float32s, list[tuple[str, ...]]] | None:
        """Scores float32[n] of some items for a query, and who proposed each; None where even stage 1 fails."""
        order = np.argsort(nums)
        for parameters in (query.parameters, replace(query.parameters, use_ranker=False)):
            try:
                batch = self.batch([query])
                candidates, _, sorted_score = self.rank_given(batch, batch.keys(np.zeros(1), nums[order]), parameters)
            except Exception as error:  # noqa: BLE001 - as in stages.rank; the caller logs the error
                errors.append(error)
                continue
            score = np.empty_like(sorted_score)
            score[order] = sorted_score
            return score, proposers(self.model.snapshot.source_names, candidates, np.argsort(order))
        return None


def _unread(user_num: Int32s) -> Histories:  # noqa: ARG001 - as what reads them
    return UNREAD


def _distinct(errors: Sequence[Exception]) -> tuple[Exception, ...]:
    """Of errors that say the same the last one."""
    return tuple({repr(error): error for error in errors}.values()) if errors else ()


def _alike(queries: Sequence[Query]) -> Collection[list[int]]:
    """The places of queries that are served alike, group by group.

    The time too says what may be in a slate, as items come and go.
    """
    same: dict[tuple[int, int, int], list[int]] = {}
    for place, query in enumerate(queries):
        same.setdefault((id(query.parameters), id(query.rules.condition), query.now), []).append(place)
    if len(same) <= 1:  # mostly, and to look at values costs more than to look at objects
        return same.values()
    groups: dict[tuple[object, ...], list[int]] = {}
    for places in same.values():
        first = queries[places[0]]
        groups.setdefault((first.parameters, first.rules.condition, first.now), []).extend(places)
    return groups.values()
