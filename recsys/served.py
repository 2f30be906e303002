"""From slates as rows to slates as the caller sees them, with what they were served from and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np

from recsys import encoded_slate, features, slate_kernels
from recsys.candidates import Candidates
from recsys.explain import feature_reasons, history_reasons
from recsys.model import Model
from recsys.placing import PINNED
from recsys.queries import QueryBatch
from recsys.ranked_items import FILL, RankedItems
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
    if candidates is None:
        served_from = ServedFrom.FALLBACK if ranked.degraded else ServedFrom.POPULAR_CACHE
        return [Slate(popular_of(model, slate), served_from, ranked.degraded) for slate in slates]
    encoded = encoded_slate.encoded(slates, candidates.rank, model.items.letters, ranked.names)
    starts = batch.history.indptr.tolist()
    answered = []
    for row, query in enumerate(queries):
        if starts[row] == starts[row + 1]:
            answered.append(Slate(popular_of(model, slates[row]), ServedFrom.POPULAR_CACHE))
            continue
        plain = row not in slates.apart and not query.explain
        items = encoded[row] if plain else _items(model, batch, row, ranked, candidates, explain=query.explain)
        traced = None
        if query.trace and ranked.context is not None:
            traced = _trace(slates[row], row, ranked.context, model.items.ids(slates[row].item_num))
        answered.append(Slate(items, ServedFrom.MODEL, ranked.degraded, traced))
    return answered


def popular_of(model: Model, slate: RankedItems) -> tuple[SlateItem, ...]:
    """The items of a slate that only popularity and rules made."""
    sources = [POPULARITY] * len(slate.item_num)
    return _listed(model, slate, sources, slate.reasons)


def _items(
    model: Model, batch: QueryBatch, row: int, ranked: Ranked, candidates: Candidates, *, explain: bool
) -> tuple[SlateItem, ...]:
    """The items of a slate with the rules that moved them, and where it is explained with all that speaks for them."""
    slate = ranked.slates[row]
    sources = _told(proposers(ranked.names, candidates, slate.position), slate.reasons)
    reasons: tuple[tuple[Reason, ...], ...] = slate.reasons
    if explain:
        why = _why(model, batch, row, ranked)
        reasons = tuple(rules + further for rules, further in zip(reasons, why, strict=True))
    return _listed(model, slate, sources, reasons)


def _listed(
    model: Model, slate: RankedItems, sources: list[tuple[str, ...]], reasons: tuple[tuple[Reason, ...], ...]
) -> tuple[SlateItem, ...]:
    ids, score, propensity = model.items.ids(slate.item_num), slate.score.tolist(), slate.propensity.tolist()
    return tuple(map(_item, zip(ids, score, sources, reasons, propensity, strict=True)))


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
