"""A dataset as it was at a time."""

from __future__ import annotations

from dataclasses import replace
from itertools import compress

import numpy as np

from recsys.catalogue import AVAILABLE
from recsys.errors import DataError
from recsys.types import Bools, Bytes
from recsys.vocabulary import Vocabulary
from recsys_offline.catalogue import Catalogue
from recsys_offline.dataset import Dataset


def as_of(dataset: Dataset, time: int) -> Dataset:
    """The events before a time (unix seconds), and the users and items that were there.

    Rows are numbered anew, so that not even the number of those who came later shows. An item without an event stays
    where the items file has it and does not say that it came later.

    Raises:
        DataError: there was no event.
    """
    events = dataset.events.before(time)
    if not len(events):
        first = dataset.facts.start_time
        raise DataError(f"{dataset.path}: no event before --until; give a time after {first}")
    # Anonymous sessions have the highest rows, so that they stay behind the users.
    rows, user_num = np.unique(events.user_num, return_inverse=True)
    there = dataset.catalogue.listed & (dataset.catalogue.created_time < time)
    there[events.item_num] = True
    item_num = np.cumsum(there)[events.item_num] - 1
    session_num = np.unique(events.session_num, return_inverse=True)[1]
    return replace(
        dataset,
        events=replace(
            events,
            user_num=user_num.astype(np.int32),
            item_num=item_num.astype(np.int32),
            session_num=session_num.astype(np.int32),
        ),
        users=_vocabulary(dataset.users.array[rows[rows < len(dataset.users)]]),
        items=_vocabulary(dataset.items.array[there]),
        catalogue=_catalogue(dataset.catalogue, there),
    )


def _vocabulary(ids: Bytes) -> Vocabulary:
    """The vocabulary of some ids, no wider than the longest of them."""
    return Vocabulary(ids.astype(f"S{np.strings.str_len(ids).max(initial=1)}"))


def _catalogue(catalogue: Catalogue, kept: Bools) -> Catalogue:
    """The catalogue of some of its items; what is available now says nothing of what was so then."""
    attributes = catalogue.attributes.where(kept)
    flags = {name: flag for name, flag in attributes.flags.items() if name != AVAILABLE}
    return Catalogue(
        titles=tuple(compress(catalogue.titles, kept)),
        categories=tuple(compress(catalogue.categories, kept)),
        brands=tuple(compress(catalogue.brands, kept)),
        price=catalogue.price[kept],
        available=np.ones(int(kept.sum()), dtype=np.bool_),
        created_time=catalogue.created_time[kept],
        listed=catalogue.listed[kept],
        embedding=catalogue.embedding[kept],
        attributes=replace(attributes, flags=flags),
    )
