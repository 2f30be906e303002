"""A model that has learnt of the shop's latest changes: attributes that differ, items that no bundle knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from recsys.catalogue import (
    AVAILABLE,
    BRAND,
    CATEGORY,
    CREATED,
    PRICE,
    VALID_FROM,
    VALID_UNTIL,
    ItemCatalogue,
    TextColumn,
    category_path,
)
from recsys.catalogue_log import EMBEDDING, TITLE, Fact, ItemChange
from recsys.content import Attributes, ContentModel
from recsys.content_source import ContentSource, DescribedSource
from recsys.halves import bits_of
from recsys.interactions import Events
from recsys.item_stats import ItemStats, item_stats
from recsys.model import Model
from recsys.snapshot import Snapshot
from recsys.sources import AlsSource, CandidateSource, PopularitySource, SimilaritySource
from recsys.spectral_source import SpectralSource
from recsys.types import Array, Float32s, Int32s, UInt16s
from recsys.vocabulary import UNKNOWN

Updates = Mapping[int, Fact]
"""For some rows the new value."""
NO_ATTRIBUTES = {TITLE, EMBEDDING}
MOST_ATTRIBUTES = 500
"""Of all items together: each is a column with a value for every item. Further ones are left out, but for the fields
that every item has."""
FIELDS = {AVAILABLE, BRAND, CATEGORY, CREATED, PRICE, VALID_FROM, VALID_UNTIL}
NO_EVENTS = Events(
    user_num=np.zeros(0, dtype=np.int32),
    item_num=np.zeros(0, dtype=np.int32),
    event_type=np.zeros(0, dtype=np.int8),
    time=np.zeros(0, dtype=np.int64),
    session_num=np.zeros(0, dtype=np.int32),
    quantity=np.zeros(0, dtype=np.float32),
    price=np.zeros(0, dtype=np.float32),
)


def changed(model: Model, changes: Sequence[ItemChange], version: int) -> Model:
    """The model with what is known of these items, and with those that it does not know yet.

    Args:
        model: of a bundle, or changed before.
        changes: each item once.
        version: of the catalogue afterwards.
    """
    unknown = [change for change in changes if not change.deleted and model.items.num(change.item_id) == UNKNOWN]
    if unknown:
        model = _with_items(model, unknown)
    known = [change for change in changes if model.items.num(change.item_id) != UNKNOWN]
    rows = [model.items.num(change.item_id) for change in known]
    deleted = model.catalogue.deleted.copy()
    deleted[rows] = [change.deleted for change in known]
    updates: dict[str, dict[int, Fact]] = {}
    for row, change in zip(rows, known, strict=True):
        for name, fact in change.facts.items():
            if name not in NO_ATTRIBUTES:
                updates.setdefault(name, {})[row] = fact
    further = [name for name in updates if name not in model.catalogue.names | FIELDS]
    for name in further[max(MOST_ATTRIBUTES - len(model.catalogue.names), 0) :]:
        del updates[name]
    catalogue = replace(_updated(model.catalogue, updates), deleted=deleted, version=version)
    return replace(model, catalogue=catalogue)


def embedding_dimensions(model: Model) -> int:
    """Numbers in an embedding that the shop brings; 0: it brought none to training."""
    return next(
        (each.model.encoder.dimensions for each in model.snapshot.sources if isinstance(each, ContentSource)), 0
    )


def _updated(catalogue: ItemCatalogue, updates: Mapping[str, Updates]) -> ItemCatalogue:
    """The catalogue with other values; an attribute has one kind of value for an item, the last one given."""
    texts, numbers, flags = dict(catalogue.texts), dict(catalogue.numbers), dict(catalogue.flags)
    for name, facts in updates.items():
        rows = list(facts)
        text = {row: fact for row, fact in facts.items() if isinstance(fact, str)}
        flag = {row: fact for row, fact in facts.items() if isinstance(fact, bool)}
        number = {
            row: fact for row, fact in facts.items() if isinstance(fact, int | float) and not isinstance(fact, bool)
        }
        if text or name in texts:
            blank = TextColumn(np.full(len(catalogue), UNKNOWN, np.int32), ())
            texts[name] = _texts(name, texts.get(name, blank), rows, text)
        if number or name in numbers:
            numbers[name] = _values(numbers.get(name, np.full(len(catalogue), np.nan)), rows, number, np.nan)
        if flag or name in flags:
            flags[name] = _values(flags.get(name, np.full(len(catalogue), -1, np.int8)), rows, flag, -1)
    return replace(catalogue, texts=texts, numbers=numbers, flags=flags)


def _texts(name: str, column: TextColumn, rows: list[int], text: Mapping[int, str]) -> TextColumn:
    given = {row: category_path(value) if name == CATEGORY else value for row, value in text.items()}
    values = tuple(sorted({*column.values, *given.values()} - {""}))
    code_of = {value: code for code, value in enumerate(values)}
    # Old codes become new ones; the last place is read by the code of what is unknown.
    renamed = np.array([*(code_of[value] for value in column.values), UNKNOWN], dtype=np.int32)
    codes = renamed[column.codes]
    codes[rows] = [code_of.get(given.get(row, ""), UNKNOWN) for row in rows]
    return TextColumn(codes, values)


def _values(column: Array, rows: list[int], given: Mapping[int, float], unknown: float) -> Array:
    column = column.copy()
    column[rows] = [given.get(row, unknown) for row in rows]
    return column


def _with_items(model: Model, items: Sequence[ItemChange]) -> Model:
    """The model with further rows: for all that is learnt from events they are items that nobody has touched."""
    count = len(items)
    snapshot = model.snapshot
    until = snapshot.stats.until
    untouched = item_stats(NO_EVENTS, count, until, has_times=until > 0).values
    return replace(
        model,
        items=model.items.followed_by([item.item_id for item in items]),
        snapshot=Snapshot(
            snapshot.histories,
            ItemStats(until, np.concatenate([snapshot.stats.values, untouched])),
            _sources(snapshot.sources, items, snapshot.n_items),
        ),
        catalogue=_lengthened(model.catalogue, count),
    )


def _lengthened(catalogue: ItemCatalogue, count: int) -> ItemCatalogue:
    """The catalogue with items of which nothing is known."""
    return ItemCatalogue(
        texts={
            name: replace(column, codes=_padded(column.codes, count, UNKNOWN))
            for name, column in catalogue.texts.items()
        },
        numbers={name: _padded(column, count, np.nan) for name, column in catalogue.numbers.items()},
        flags={name: _padded(column, count, -1) for name, column in catalogue.flags.items()},
        deleted=_padded(catalogue.deleted, count, 0),
        version=catalogue.version,
    )


def _padded(column: Array, count: int, value: float) -> Array:
    return np.concatenate([column, np.full((count, *column.shape[1:]), value, dtype=column.dtype)])


def _sources(
    sources: tuple[CandidateSource, ...], items: Sequence[ItemChange], n_known: int
) -> tuple[CandidateSource, ...]:
    """The sources with further rows. Of new items the content source alone says something."""
    content = next((source for source in sources if isinstance(source, ContentSource)), None)
    grown: list[CandidateSource] = []
    for source in sources:
        match source:
            case AlsSource():
                mapped = np.zeros((len(items), source.item_factors.shape[1]), dtype=np.float32)
                if content is not None:
                    mapped = mapped_factors(content.model, items)
                # The index stays: the new rows have their own source, and no index is copied for them.
                factors, bits = _followed(source.item_factors, source.bits, mapped)
                grown.append(replace(source, item_factors=factors, known_bits=bits))
            case DescribedSource():
                als = next(each for each in grown if isinstance(each, AlsSource))
                factors, bits = _followed(source.factors, source.bits, als.item_factors[n_known:])
                grown.append(DescribedSource(als, factors, known_bits=bits))
            case ContentSource():
                als = next(each for each in grown if isinstance(each, AlsSource))
                grown.append(ContentSource(als, _cold(source.item_num, als.item_factors, n_known), source.model))
            case SpectralSource():
                none = np.zeros((len(items), source.item_factors.shape[1]), dtype=np.float32)
                factors, bits = _followed(source.item_factors, source.bits, none)
                share = _padded(source.inverse_degree, len(items), 0)
                grown.append(replace(source, item_factors=factors, inverse_degree=share, known_bits=bits))
            case SimilaritySource():
                grown.append(replace(source, neighbours=_without_neighbours(source.neighbours, len(items))))
            case PopularitySource():
                grown.append(PopularitySource.of(_padded(source.popularity, len(items), 0)))
            case _:
                grown.append(source)
    return tuple(grown)


def _followed(factors: Float32s, bits: UInt16s, more: Float32s) -> tuple[Float32s, UInt16s]:
    """Factors and their bits, with further rows."""
    return np.concatenate([factors, more]), np.concatenate([bits, bits_of(more)])


def mapped_factors(model: ContentModel, items: Sequence[ItemChange]) -> Float32s:
    """float32[n, d]: the factors that items should have by what is said of them."""
    width = model.encoder.dimensions
    vectors = [np.asarray(item.facts.get(EMBEDDING) or (), dtype=np.float32) for item in items]
    attributes = Attributes(
        titles=[_text(item, TITLE) for item in items],
        categories=[_text(item, CATEGORY) for item in items],
        brands=[_text(item, BRAND) for item in items],
        price=np.array([_number(item, PRICE) for item in items], dtype=np.float32),
        embedding=np.array(
            [each if len(each) == width else np.zeros(width) for each in vectors], dtype=np.float32
        ).reshape(len(items), width),
    )
    return model.factors(model.encoder.encode(attributes))


def _text(item: ItemChange, name: str) -> str:
    fact = item.facts.get(name)
    return fact if isinstance(fact, str) else ""


def _number(item: ItemChange, name: str) -> float:
    fact = item.facts.get(name)
    return fact if isinstance(fact, int | float) else np.nan


def _cold(item_num: Int32s, factors: Float32s, n_known: int) -> Int32s:
    """int32[c]: the cold items, with the new ones to which attributes give factors."""
    new = n_known + np.flatnonzero(factors[n_known:].any(axis=1))
    return np.concatenate([item_num, new]).astype(np.int32)


def _without_neighbours(neighbours: sp.csr_array, count: int) -> sp.csr_array:
    """float32 CSR with further rows and columns, which are empty."""
    n_items = neighbours.shape[0] + count
    indptr = np.concatenate([neighbours.indptr, np.full(count, neighbours.indptr[-1])])
    return sp.csr_array((neighbours.data, neighbours.indices, indptr), shape=(n_items, n_items))
