"""From scored candidates to slates: the best of each query, moved by rules, filled up with what is popular."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from recsys import merchandising, slate_kernels
from recsys.candidates import Candidates
from recsys.catalogue import ItemCatalogue
from recsys.placing import Kept, Pool, place
from recsys.queries import QueryBatch
from recsys.ranked_items import FILL, NOTHING, RankedItems, RankedSlates
from recsys.rules import NO_RULES, Rules
from recsys.sources import PopularitySource
from recsys.types import Bools, Float32s, Float64s, Int32s, Int64s, RuleReason
from recsys.vocabulary import Vocabulary

CAPPED_FILL = 200
"""Most popular items that are looked through for some that caps let in."""
RULED_POPULAR = 200
"""Most popular items that rules may move in a slate of those alone, or as many as twice its places."""
TINY = 1e-9
"""Odds of what nobody acts on, so that it has a logarithm."""


class Slots(NamedTuple):
    """Places that are kept for what one source proposes, evenly spread, so that a shorter slate begins a longer one.

    Attributes:
        source: its column among the candidates; its own rank says which of its items come first.
        shares: of the places, 0 to 1, for queries that allow purchased items and for those that do not.
    """

    source: int
    shares: tuple[float, float]

    def places(self, size: int, discovery: bool) -> list[int]:
        """The kept places of a slate, from 0."""
        places: list[int] = slate_kernels.places(size, float(self.shares[discovery])).tolist()
        return places


class AllSlots(NamedTuple):
    """Slots as arrays.

    Attributes:
        sources: int64[s], their columns.
        shares: float64[s, 2].
        used: for both kinds of queries whether any place is kept.
    """

    sources: Int64s
    shares: Float64s
    used: tuple[bool, bool]


@lru_cache(maxsize=16)
def side_by_side(slots: tuple[Slots, ...]) -> AllSlots:
    """Slots as arrays."""
    shares = np.array([each.shares for each in slots], dtype=np.float64).reshape(len(slots), 2)
    used = (bool(shares[:, 0].any()), bool(shares[:, 1].any()))
    return AllSlots(np.array([each.source for each in slots], dtype=np.int64), shares, used)


class Asked(NamedTuple):
    """What one query asks of its slate; a tuple, as one is made for each.

    Attributes:
        size: items wanted.
        rules: of the placement and of the request; their condition is met by what the sources propose.
        shown: rows of items shown lately and not clicked since, each with how often.
        seed: draws what is explored; 0: nothing is drawn.
        fill: whether popular items fill up what the candidates leave open.
    """

    size: int
    rules: Rules = NO_RULES
    shown: tuple[tuple[int, int], ...] = ()
    seed: int = 0
    fill: bool = True

    @property
    def is_ruled(self) -> bool:
        """Whether anything but the scores orders the slate."""
        return order_otherwise(self.rules, self.shown)


@dataclass(frozen=True, slots=True)
class Shelf:
    """What rules know of the n items.

    Attributes:
        catalogue: their attributes.
        items: their ids.
        factors: float32[n, d], in which like items have like directions; None: nothing says which are alike.
    """

    catalogue: ItemCatalogue
    items: Vocabulary
    factors: Float32s | None = None


NO_SHELF = Shelf(ItemCatalogue.empty(0), Vocabulary.of(()))
"""For queries without rules."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One query's candidates: rows, margins and positions; and places kept for some of them."""

    item_num: Int32s
    margin: Float32s
    position: Int64s
    kept: Sequence[Kept] = ()

    def with_others(self, item_num: Int32s) -> _Part:
        """With further items behind, which are no candidates."""
        return replace(
            self,
            item_num=np.concatenate([self.item_num, item_num]),
            margin=np.concatenate([self.margin, np.full(len(item_num), np.nan, dtype=np.float32)]),
            position=np.concatenate([self.position, np.full(len(item_num), FILL)]),
        )


def assemble(
    batch: QueryBatch,
    candidates: Candidates,
    margin: Float32s,
    asked: Sequence[Asked],
    popular: PopularitySource,
    slots: Sequence[Slots] = (),
    shelf: Shelf = NO_SHELF,
) -> RankedSlates:
    """One slate a query, as long as it asks, shorter only where the allowed part of the catalogue is.

    Args:
        batch: the queries.
        candidates: what was proposed for them.
        margin: float32[n], what orders the candidates: logarithms of odds, so that rules can multiply these.
        asked: by each query.
        popular: fills up what the candidates leave open.
        slots: places kept for some sources' candidates, the first ones first.
        shelf: what rules know of the items.
    """
    all_slots, discovery = side_by_side(tuple(slots)), batch.discovery.tolist()
    sizes = np.array([0 if each.is_ruled else each.size for each in asked], dtype=np.int64)
    seeds = seeds_of([each.seed for each in asked], batch.discovery, all_slots)
    most = int(np.fmax.reduce(candidates.rank, axis=None, initial=0)) if any(seeds) else 0
    slates = RankedSlates(
        candidates.item_num,
        *slate_kernels.best(
            candidates.query_num,
            margin,
            candidates.rank,
            sizes,
            all_slots.sources,
            all_slots.shares,
            batch.discovery,
            numbers_of(seeds, most),
        ),
    )
    starts = slates.starts.tolist()
    for query, each in enumerate(asked):
        if starts[query + 1] - starts[query] == each.size:
            continue
        if each.is_ruled:
            part = _part(candidates, margin, query, each, discovery[query], slots)
            slates.apart[query] = _ruled(batch, query, part, each, popular, shelf)
        elif each.fill:
            slates.apart[query] = _filled(batch, query, slates[query], each.size, popular)
    return slates


def popular_items(
    batch: QueryBatch, query: int, asked: Asked, popular: PopularitySource, shelf: Shelf = NO_SHELF
) -> RankedItems:
    """The popular slate of a query, without what it must not show."""
    if not asked.is_ruled:
        return _filled(batch, query, NOTHING, asked.size, popular)
    head = _popular_others(batch, query, NOTHING.item_num, max(RULED_POPULAR, 2 * asked.size), popular)
    margin = np.log(np.maximum(popular.popularity[head], np.float32(TINY)))
    part = _Part(head, margin, np.full(len(head), FILL))
    return _ruled(batch, query, part, asked._replace(fill=True), popular, shelf)


def _filled(batch: QueryBatch, query: int, slate: RankedItems, size: int, popular: PopularitySource) -> RankedItems:
    """A slate, filled up to a size with the most popular of all others."""
    fill = _popular_others(batch, query, slate.item_num, size - len(slate.item_num), popular)
    count, item_num = len(fill), np.concatenate([slate.item_num, fill])
    margin = np.concatenate([slate.score, np.full(count, np.nan, dtype=np.float32)])
    return RankedItems(
        item_num,
        falling(margin, popular.popularity[item_num]),
        np.concatenate([slate.position, np.full(count, FILL)]),
        (*slate.reasons, *[()] * count),
        np.concatenate([slate.propensity, np.ones(count, dtype=np.float32)]),
    )


def _ruled(
    batch: QueryBatch, query: int, part: _Part, asked: Asked, popular: PopularitySource, shelf: Shelf
) -> RankedItems:
    """One slate, place by place."""
    rules, catalogue, candidates = asked.rules, shelf.catalogue, len(part.item_num)
    margin, moves = merchandising.moved(part.margin, part.item_num, rules, asked.shown, catalogue, shelf.items)
    pins = {
        at: pin
        for at, pin in merchandising.pinned(rules.pins, shelf.items, asked.size).items()
        if batch.allowed(np.array([query]), np.array([pin[0]]))[0]
    }
    short = asked.size - candidates
    wanted = asked.size + CAPPED_FILL if rules.caps else short
    fill = _fill(batch, query, part.item_num, wanted, asked, popular)
    part = replace(part, margin=margin).with_others(fill)
    pinned = np.array([item for item, _ in pins.values()], dtype=np.int32)
    part = part.with_others(pinned[~np.isin(pinned, part.item_num)])
    position_of = {item: position for position, item in enumerate(part.item_num.tolist())}
    pool = Pool(
        margin,
        range(candidates, candidates + len(fill)),
        {at: (position_of[item], name) for at, (item, name) in pins.items()},
        merchandising.limits(rules.caps, part.item_num, catalogue),
        part.kept,
        merchandising.directions(shelf.factors, part.item_num)
        if rules.diversity and shelf.factors is not None
        else None,
        rules.diversity,
    )
    placed = place(pool, asked.size)
    moves += [()] * (len(part.item_num) - candidates)
    reasons = tuple((*moves[each.position], *each.reasons) for each in placed)
    best = [each.position for each in placed]
    return _ranked(part, best, reasons, [each.propensity for each in placed], popular)


def order_otherwise(rules: Rules, shown: Sequence[object]) -> bool:
    """Whether rules order a slate otherwise than scores do, for a user who was shown these items lately."""
    if rules is NO_RULES:
        return False
    return bool(rules.boosts or rules.pins or rules.caps or rules.diversity or (rules.fatigue and shown))


def seeds_of(seeds: Sequence[int], discovery: Bools, slots: AllSlots) -> list[int]:
    """The seeds of queries for which places are kept; 0, which draws nothing, for the others.

    Args:
        seeds: of all queries.
        discovery: bool[q], whether purchased items are kept out.
        slots: the places.
    """
    if slots.used == (False, False):
        return [0] * len(seeds)
    return [seed if slots.used[is_new] else 0 for seed, is_new in zip(seeds, discovery.tolist(), strict=True)]


def numbers_of(seeds: Sequence[int], most: int) -> Float64s:
    """float64[q, m]: the numbers that draw what gets kept places; NaN for queries for which nothing is drawn.

    Args:
        seeds: of the queries.
        most: items that one source proposes for one of them, or more; what is drawn first stays the same.
    """
    if not any(seeds):
        return np.empty((len(seeds), 0))
    numbers = np.full((len(seeds), most), np.nan)
    for row, seed in zip(numbers, seeds, strict=True):
        if seed:
            _draw(row, seed)
    return numbers


def _draw(numbers: Float64s, seed: int) -> None:
    """Write numbers of an exponential distribution: the same ones first, however many they are."""
    np.random.default_rng(seed).standard_exponential(out=numbers)


def _part(
    candidates: Candidates, margin: Float32s, query: int, asked: Asked, discovery: bool, slots: Sequence[Slots]
) -> _Part:
    """The candidates of one query."""
    first, last = np.searchsorted(candidates.query_num, (query, query + 1)).tolist()
    rows = slice(first, last)
    kept = [(one.places(asked.size, discovery), candidates.rank[rows, one.source]) for one in slots]
    own = [_kept(places, rank, asked.seed) for places, rank in kept if places]
    return _Part(candidates.item_num[rows], margin[rows], np.arange(first, last), own)


def _kept(places: Sequence[int], rank: Float32s, seed: int) -> Kept:
    """Places for the candidates that a source ranked (float32[n], NaN for the rest)."""
    if not seed:
        return Kept(places, slate_kernels.ranked(rank).tolist())
    numbers = np.empty(len(rank))
    _draw(numbers, seed)
    order = slate_kernels.drawn(rank, numbers)
    weights = dict(zip(order.tolist(), (1.0 / rank[order]).tolist(), strict=True))
    return Kept(places, order.tolist(), weights)


def _fill(batch: QueryBatch, query: int, out: Int32s, wanted: int, asked: Asked, popular: PopularitySource) -> Int32s:
    """Rows of the most popular items that may be in a slate, at most ``wanted``, without some."""
    if wanted <= 0 or not asked.fill:
        return np.zeros(0, dtype=np.int32)
    return _popular_others(batch, query, out, wanted, popular)


def _popular_others(batch: QueryBatch, query: int, out: Int32s, wanted: int, popular: PopularitySource) -> Int32s:
    first, last = np.searchsorted(batch.excluded, (query * batch.n_items, (query + 1) * batch.n_items))
    out = np.concatenate([out, batch.excluded[first:last] % batch.n_items])
    order = popular.order
    if batch.allowed_items is not None:
        order = order[batch.allowed_items[order]]
    # Nothing beyond the first wanted + len(out) popular items can be needed.
    head = order[: wanted + len(out)].astype(np.int32)
    return head[~np.isin(head, out)][:wanted]


def _ranked(
    part: _Part,
    best: Sequence[int],
    reasons: tuple[tuple[RuleReason, ...], ...],
    propensity: Sequence[float],
    popular: PopularitySource,
) -> RankedItems:
    """The slate of these rows of a part."""
    item_num = part.item_num[best]
    score = falling(part.margin[best], popular.popularity[item_num])
    return RankedItems(item_num, score, part.position[best], reasons, np.array(propensity, dtype=np.float32))


def falling(margin: Float32s, popularity: Float32s) -> Float32s:
    """float32[k]: the scores of a slate, which never rise.

    What stands above its own score counts as much as what comes behind it. What has no margin (NaN) and stands behind
    all that have one goes on below them by its popularity, which is of another scale.
    """
    scored = np.flatnonzero(~np.isnan(margin))
    end = int(scored[-1]) + 1 if len(scored) else 0
    head = np.fmax.accumulate(margin[:end][::-1])[::-1]
    tail = np.minimum.accumulate(popularity[end:])
    if end and len(tail):
        tail = tail - tail[0] + head[-1]
    return np.concatenate([head, tail]).astype(np.float32)
