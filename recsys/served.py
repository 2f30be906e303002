"""From slates as rows to slates as the caller sees them, with what they were served from and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import accumulate

import numpy as np

from recsys import features, slate_kernels
from recsys.candidates import Candidates
from recsys.explain import feature_reasons, history_reasons
from recsys.model import Model
from recsys.placing import PINNED
from recsys.queries import QueryBatch
from recsys.slate import FILL, RankedItems
from recsys.stages import Ranked
from recsys.types import Int64s, Query, Reason, RuleReason, ServedFrom, Slate, SlateItem, Trace

POPULARITY: tuple[str, ...] = ("popularity",)
FILLED: tuple[str, ...] = ("fill",)
"""The sources of an item that no source proposed."""

_item: Callable[[tuple[object, ...]], SlateItem] = partial(tuple.__new__, SlateItem)  # as _make, in half its time


def slates_of(model: Model, batch: QueryBatch, ranked: Ranked, queries: Sequence[Query]) -> list[Slate]:
    """One slate a query.

    Args:
        model: that made them.
        batch: the queries.
        ranked: their slates as rows.
        queries: whether to say, besides the rules that moved an item, what speaks for it; whether to keep its features.
    """
    slates, candidates = ranked.slates, ranked.candidates
    ends = [0, *accumulate(len(each.item_num) for each in slates)]
    ids = model.items.ids(np.concatenate([each.item_num for each in slates]))
    score = np.concatenate([each.score for each in slates]).tolist()
    propensity = np.concatenate([each.propensity for each in slates]).tolist()
    position = np.concatenate([each.position for each in slates])
    proposed = [] if candidates is None else proposers(ranked.names, candidates, position)
    starts = batch.history.indptr.tolist()
    answered = []
    for row, query in enumerate(queries):
        own, slate = slice(ends[row], ends[row + 1]), slates[row]
        reasons: tuple[tuple[Reason, ...], ...] = slate.reasons
        if candidates is None or starts[row] == starts[row + 1]:
            degraded = ranked.degraded if candidates is None else ()
            served_from = ServedFrom.FALLBACK if degraded else ServedFrom.POPULAR_CACHE
            sources = [POPULARITY] * len(slate.item_num)
        else:
            degraded, served_from = ranked.degraded, ServedFrom.MODEL
            sources = _told(proposed[own], slate.reasons)
            if query.explain:
                why = _why(model, batch, row, ranked)
                reasons = tuple(rules + further for rules, further in zip(reasons, why, strict=True))
        items = map(_item, zip(ids[own], score[own], sources, reasons, propensity[own], strict=True))
        traced = _trace(slate, row, ranked.context, ids[own]) if query.trace and ranked.context is not None else None
        answered.append(Slate(tuple(items), served_from, degraded, traced))
    return answered


def _told(sources: list[tuple[str, ...]], reasons: tuple[tuple[RuleReason, ...], ...]) -> list[tuple[str, ...]]:
    """The sources of a slate's items: none of what is there by a pin alone."""
    if not any(reasons):
        return sources
    pinned = [any(reason.effect == PINNED for reason in each) for each in reasons]
    return [() if own is FILLED and is_pinned else own for own, is_pinned in zip(sources, pinned, strict=True)]


def _trace(items: RankedItems, row: int, context: features.Context, ids: Sequence[str]) -> Trace:
    """What the ranker saw of the items of a slate, which is that of some row of the batch."""
    scored = np.flatnonzero(items.position != FILL)
    return Trace(tuple(ids[at] for at in scored.tolist()), features.rows(context, row, items.position[scored]))


def proposers(names: tuple[str, ...], candidates: Candidates, position: Int64s) -> list[tuple[str, ...]]:
    """The names of the sources that proposed the candidates at some positions, in alphabetical order."""
    return [*map(_naming(names), slate_kernels.proposers(candidates.rank, position).tolist())]


@lru_cache(maxsize=16)
def _naming(names: tuple[str, ...]) -> Callable[[int], tuple[str, ...]]:
    """What gives the names whose bits are set, in alphabetical order; few combinations of sources occur."""

    @lru_cache(maxsize=4096)
    def named(code: int) -> tuple[str, ...]:
        return FILLED if code == FILL else tuple(sorted(name for bit, name in enumerate(names) if code >> bit & 1))

    return named


def _why(model: Model, batch: QueryBatch, row: int, ranked: Ranked) -> list[tuple[Reason, ...]]:
    """What of the history pulled each item of a slate, and which features moved the ranker."""
    slate = ranked.slates[row]
    reasons: list[tuple[Reason, ...]] = [()] * len(slate.item_num)
    if model.als is not None:
        reasons = [*history_reasons(model.als, batch, row, slate.item_num, model.items)]
    if ranked.context is not None and model.ranker is not None:
        scored = np.flatnonzero(slate.position != FILL)
        names = features.feature_names(ranked.names)
        moved = feature_reasons(model.ranker, features.rows(ranked.context, row, slate.position[scored]), names)
        for place, parts in zip(scored.tolist(), moved, strict=True):
            reasons[place] += parts
    return reasons
