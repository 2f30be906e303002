"""Cold items: a map from what the shop says of items to ALS factors, fitted on the items that many act on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from recsys.config import ContentSection
from recsys.content import Attributes, ContentModel, Encoder, count_tokens, inverse_frequency, ridge, vocabulary
from recsys.content_source import ContentSource, DescribedSource
from recsys.interactions import Events
from recsys.item_index import ItemIndex
from recsys.sources import AlsSource
from recsys.types import INTERACTION_TYPES, Bools, EventType, Float32s, Float64s, Int32s, Int64s
from recsys.vocabulary import Vocabulary
from recsys_offline.catalogue import Catalogue

LEAST_ITEMS = 50
"""Known items, with attributes, below which nothing is mapped."""
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
DEFAULT_STRENGTH = 1.0
HELD_OUT = 0.2
TRUSTED = 20.0
"""An item with this many interactions counts half as much as one with very many: its factors are known half as well."""


@dataclass(frozen=True, slots=True)
class Described:
    """What the shop says of its n items, ready to be weighed as of any time.

    Attributes:
        terms: the tokens that count.
        counts: float32 CSR[n, len(terms)], how often each item has each.
        embedding: float32[n, e].
        created_time: int64[n], unix seconds; 0 where unknown.
    """

    terms: Vocabulary
    counts: sp.csr_array
    embedding: Float32s
    created_time: Int64s

    @property
    def usable(self) -> Bools:
        """bool[n]: the items of which anything is known."""
        return (np.diff(self.counts.indptr) > 0) | self.embedding.any(axis=1)


def describe(catalogue: Catalogue, section: ContentSection) -> Described | None:
    """The items' attributes; None where the shop says nothing of them, or nobody wants to know."""
    if section.terms == 0:
        return None
    attributes = Attributes(
        catalogue.titles, catalogue.categories, catalogue.brands, catalogue.price, catalogue.embedding
    )
    tokens = attributes.tokens()
    terms = vocabulary(tokens, section.terms)
    described = Described(terms, count_tokens(tokens, terms), catalogue.embedding, catalogue.created_time)
    return described if described.usable.any() else None


def fit(
    als: AlsSource, described: Described, events: Events, now: int, section: ContentSection, seed: int
) -> tuple[AlsSource, DescribedSource, ContentSource]:
    """ALS with mapped factors of the cold items, what attributes say of all items, and the source of the cold ones.

    Args:
        als: fitted on the events.
        described: the items.
        events: all before ``now``.
        now: unix seconds; items created from then on are not there. 0 in a static set.
        section: parameters.
        seed: draws the items on which the strength is chosen.
    """
    n_items = len(described.created_time)
    acted = np.bincount(events.of_types(INTERACTION_TYPES).item_num, minlength=n_items)
    heard_of = events.event_type != EventType.IMPRESSION  # what was only ever sent back is not new
    seen = np.bincount(events.item_num[heard_of], minlength=n_items)
    there = (described.created_time < max(now, 1)) | (seen > 0)
    encoder = Encoder(described.terms, inverse_frequency(described.counts[there]), described.embedding.shape[1])
    known = np.flatnonzero(described.usable & (acted >= section.cold_below))
    cold = np.flatnonzero(described.usable & there & (seen < section.cold_below)).astype(np.int32)
    if len(known) < LEAST_ITEMS:
        unmapped = ContentModel(encoder, np.zeros((encoder.width, als.item_factors.shape[1]), np.float32), 0.0)
        return als, DescribedSource(als, np.zeros_like(als.item_factors)), ContentSource(als, cold[:0], unmapped)
    vectors = encoder.weigh(described.counts, described.embedding)
    weight = acted[known] / (acted[known] + TRUSTED)
    factors = als.item_factors[known]
    strength = section.strength or _strength(vectors[known], factors, weight, seed)
    model = ContentModel(encoder, ridge(vectors[known], factors, weight, [strength])[0], strength)
    mapped = model.factors(vectors)
    mapped[~described.usable] = 0
    als = _mapped(als, cold, mapped[cold]) if len(cold) else als
    return als, DescribedSource(als, mapped), ContentSource(als, cold, model)


def reason(source: ContentSource, shares: tuple[float, float]) -> str:
    """What was chosen for cold items, as a line."""
    model = source.model
    return (
        f"{source.name}: {len(source.item_num):,} cold items, {len(model.encoder.terms):,} terms,"
        f" strength {model.strength:g}, {shares[0]:.0%} of the places, in discovery {shares[1]:.0%}"
    )


def _strength(vectors: sp.csr_array, factors: Float32s, weight: Float64s, seed: int) -> float:
    """The strength whose map is nearest to the factors of items that it has not seen."""
    out = np.random.default_rng(seed).random(len(factors)) < HELD_OUT
    seen, unseen = np.flatnonzero(~out), np.flatnonzero(out)
    if len(unseen) == 0:
        return DEFAULT_STRENGTH
    maps = ridge(vectors[seen], factors[seen], weight[seen], STRENGTHS)
    missed = [np.square(vectors[unseen] @ weights - factors[unseen]).sum(axis=1) for weights in maps]
    return STRENGTHS[int(np.argmin([weight[unseen] @ squares for squares in missed]))]


def _mapped(als: AlsSource, cold: Int32s, factors: Float32s) -> AlsSource:
    """ALS with these factors of these items."""
    item_factors = als.item_factors.copy()
    item_factors[cold] = factors
    return replace(als, item_factors=item_factors, index=ItemIndex.exact(item_factors))
