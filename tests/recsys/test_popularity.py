"""How much everybody acts on each item."""

import numpy as np
import pytest

import builders
from recsys.popularity import decay, decayed_counts, popular_order
from recsys.sources import PopularitySource
from recsys.types import SECONDS_PER_DAY, EventType

DAY = SECONDS_PER_DAY


def test_a_weight_halves_every_half_life_and_the_future_counts_as_now():
    ages = np.array([0, 7 * DAY, 14 * DAY, -3 * DAY])
    assert decay(ages, 7.0).tolist() == [1.0, 0.5, 0.25, 1.0]


def test_counts_weigh_types_and_ages_and_know_items_without_events():
    events = builders.events(
        (0, 2, EventType.PURCHASE, 0),
        (1, 0, EventType.VIEW_ITEM, 10 * DAY),
        (1, 0, EventType.IMPRESSION, 10 * DAY),
        (2, 0, EventType.VIEW_ITEM, 20 * DAY),
    )
    counts = decayed_counts(events, 4, {EventType.PURCHASE: 8.0, EventType.VIEW_ITEM: 1.0}, 20 * DAY, 10.0)
    assert counts == pytest.approx([1.5, 0, 2, 0])
    assert popular_order(counts).tolist() == [2, 0, 1, 3]


@pytest.mark.parametrize("count", [1, 3, 5, 10, 100])
def test_of_few_items_those_that_are_allowed_are_found_however_many_are_asked_for(count):
    source = PopularitySource.of(np.arange(10, dtype=np.float32))
    allowed = np.arange(10) % 2 == 0
    assert source.most_popular(count, allowed).tolist() == [8, 6, 4, 2, 0][:count]


def test_equally_popular_items_keep_the_order_of_their_rows():
    assert popular_order(np.repeat(np.float32([1, 2]), 100)).tolist() == [*range(100, 200), *range(100)]
