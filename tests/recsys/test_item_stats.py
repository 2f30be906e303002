"""Statistics of items in a small shop whose answers are worked out by hand."""

import numpy as np
import pytest

import builders
from recsys.item_stats import ITEM_COLUMNS, item_stats
from recsys.types import SECONDS_PER_DAY, EventType

DAY = SECONDS_PER_DAY
VIEW, CART, BUY, REFUND, SHOWN = (
    EventType.VIEW_ITEM,
    EventType.ADD_TO_WISHLIST,
    EventType.PURCHASE,
    EventType.REFUND,
    EventType.IMPRESSION,
)
UNTIL = 100 * DAY
EVENTS = builders.events(
    (0, 0, VIEW, 10 * DAY, 0, 1, 99.0),
    (0, 0, BUY, 50 * DAY, 1, 2, 10.0),
    (0, 0, BUY, 98 * DAY, 2, 1, 20.0),
    (0, 0, REFUND, 98 * DAY, 2, 1, 20.0),
    (1, 1, VIEW, 99 * DAY, 3, 1, 5.0),
    (1, 2, SHOWN, 99 * DAY, 3, 1, 5.0),
    (7, 0, BUY, 99 * DAY + DAY // 2, 4, 1, np.nan),
    (7, 1, CART, 99 * DAY + DAY // 2, 4, 1, 6.0),
)
NAN = np.nan
EXPECTED = {  # of items 0, 1 and 2
    "item_view_1d": np.log1p([0, 1, 0]),
    "item_view_90d": np.log1p([1, 1, 0]),
    "item_cart_1d": np.log1p([0, 1, 0]),
    "item_purchase_1d": np.log1p([1, 0, 0]),
    "item_purchase_3d": np.log1p([2, 0, 0]),
    "item_purchase_30d": np.log1p([2, 0, 0]),
    "item_purchase_90d": np.log1p([3, 0, 0]),
    "item_view_all": np.log1p([1, 1, 0]),
    "item_purchase_all": np.log1p([3, 0, 0]),
    "item_trend_7_30": np.log([3 / (2 * 7 / 30 + 1), 3 / (2 * 7 / 30 + 1), 1]),
    "item_trend_30_90": np.log([3 / (4 / 3 + 1), 3 / (2 / 3 + 1), 1]),
    "item_users": np.log1p([2, 0, 0]),
    "item_repeat_share": [(1 + 1) / (2 + 10), NAN, NAN],
    "item_conversion": [(3 + 1) / (1 + 20), 1 / (1 + 20), NAN],
    "item_age_days": [90, 1, NAN],
    "item_idle_days": [0.5, 0.5, NAN],
    "item_price": [np.log1p([10, 20]).mean(), NAN, NAN],
    "item_price_change": [np.log1p(20) - np.log1p([10, 20]).mean(), NAN, NAN],
    "item_quantity": [np.log1p([2, 1, 1]).mean(), NAN, NAN],
    "item_interactions": np.log1p([4, 2, 0]),
}
NEEDS_TIME = {name for name in ITEM_COLUMNS if name[-2:] in {"1d", "3d", "7d", "4d", "0d"}} | {
    "item_trend_7_30",
    "item_trend_30_90",
    "item_age_days",
    "item_idle_days",
    "item_price_change",
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_statistic_is_what_its_name_says(name):
    column = item_stats(EVENTS, 3, UNTIL, has_times=True).column(name)
    np.testing.assert_allclose(column, EXPECTED[name], rtol=1e-5)
    assert column.dtype == np.float32


def test_without_times_what_needs_a_time_is_unknown_and_the_rest_is_the_same():
    timed = item_stats(EVENTS, 3, UNTIL, has_times=True)
    static = item_stats(EVENTS, 3, 0, has_times=False)
    for name in ITEM_COLUMNS:
        if name in NEEDS_TIME:
            assert np.isnan(static.column(name)).all(), name
        else:
            np.testing.assert_array_equal(static.column(name), timed.column(name))


def test_a_shop_without_purchases_is_described_by_its_views():
    views = EVENTS.where(EVENTS.event_type != BUY)
    stats = item_stats(views, 3, UNTIL, has_times=True)
    np.testing.assert_allclose(stats.column("item_users"), np.log1p([1, 2, 0]), rtol=1e-5)
    np.testing.assert_allclose(stats.column("item_price"), [np.log1p(99), np.log1p([5, 6]).mean(), NAN], rtol=1e-5)
    assert not stats.has_purchases
    assert item_stats(EVENTS, 3, UNTIL, has_times=True).has_purchases


def test_a_shop_where_nothing_happened_has_statistics_too():
    stats = item_stats(builders.events(), 2, UNTIL, has_times=True)
    assert stats.values.shape == (2, len(ITEM_COLUMNS))
    assert stats.column("item_interactions").tolist() == [0, 0]
