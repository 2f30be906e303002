"""From slates as rows to slates as the caller sees them, with what they were served from and why."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from recsys import features
from recsys.candidates import Candidates
from recsys.explain import feature_reasons, history_reasons
from recsys.model import Model
from recsys.placing import PINNED
from recsys.queries import QueryBatch
from recsys.slate import FILL, RankedItems
from recsys.stages import Ranked
from recsys.types import Array, Float32s, Reason, ServedFrom, Slate, SlateItem, Trace


def slate_of(model: Model, batch: QueryBatch, row: int, ranked: Ranked, *, explain: bool, trace: bool = False) -> Slate:
    """One query's slate.

    Args:
        model: that made it.
        batch: the queries.
        row: of the query.
        ranked: the batch's slates.
        explain: whether to say, besides the rules that moved an item, what speaks for it.
        trace: whether to keep the features of its items.
    """
    items, degraded = ranked.slates[row], ranked.degraded
    known = batch.history.indptr[row + 1] > batch.history.indptr[row]
    reasons: list[tuple[Reason, ...]] = [*items.reasons]
    if not known or ranked.candidates is None:
        degraded = degraded if ranked.candidates is None else ()
        proposed: list[tuple[str, ...]] = [("popularity",)] * len(items.item_num)
        served_from = ServedFrom.FALLBACK if degraded else ServedFrom.POPULAR_CACHE
    else:
        served_from = ServedFrom.MODEL
        proposed = proposers(ranked.names, ranked.candidates, items.position)
        for place in np.flatnonzero(items.position == FILL).tolist():
            if any(reason.effect == PINNED for reason in items.reasons[place]):
                proposed[place] = ()
        if explain:
            reasons = [rules + why for rules, why in zip(reasons, _why(model, batch, row, ranked), strict=True)]
    ids = model.items.ids(items.item_num)
    rows = zip(ids, items.score.tolist(), proposed, reasons, items.propensity.tolist(), strict=True)
    traced = _trace(items, ranked.features, ids) if trace and ranked.features is not None else None
    return Slate(tuple(map(SlateItem._make, rows)), served_from, degraded, traced)


def _trace(items: RankedItems, matrix: Float32s, ids: Sequence[str]) -> Trace:
    """What the ranker saw of a slate's items; ``matrix`` is float32[n, f], of all candidates."""
    scored = np.flatnonzero(items.position != FILL)
    return Trace(tuple(ids[at] for at in scored.tolist()), matrix[items.position[scored]])


def proposers(names: tuple[str, ...], candidates: Candidates, position: Array) -> list[tuple[str, ...]]:
    """The names of the sources that proposed the candidates at some positions, in alphabetical order."""
    codes = np.full(len(position), FILL)
    found = position != FILL
    codes[found] = np.isfinite(candidates.rank[position[found]]) @ (1 << np.arange(len(names)))
    return [_named(names, code) for code in codes.tolist()]


@lru_cache(maxsize=4096)
def _named(names: tuple[str, ...], code: int) -> tuple[str, ...]:
    """The names whose bits are set, in alphabetical order: few combinations of sources occur."""
    return ("fill",) if code == FILL else tuple(sorted(name for bit, name in enumerate(names) if code >> bit & 1))


def _why(model: Model, batch: QueryBatch, row: int, ranked: Ranked) -> list[tuple[Reason, ...]]:
    """What of the history pulled each item of a slate, and which features moved the ranker."""
    slate = ranked.slates[row]
    reasons: list[tuple[Reason, ...]] = [()] * len(slate.item_num)
    if model.als is not None:
        reasons = [*history_reasons(model.als, batch, row, slate.item_num, model.items)]
    if ranked.features is not None and model.ranker is not None:
        scored = np.flatnonzero(slate.position != FILL)
        names = features.feature_names(ranked.names)
        moved = feature_reasons(model.ranker, ranked.features[slate.position[scored]], names)
        for place, parts in zip(scored.tolist(), moved, strict=True):
            reasons[place] += parts
    return reasons
