"""Windows of the past."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
import worlds
from recsys import splits
from recsys.types import INTERACTION_TYPES, SECONDS_PER_DAY, EventType

BUY, VIEW = EventType.PURCHASE, EventType.VIEW_ITEM
DAY = SECONDS_PER_DAY


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 99), st.floats(0.5, 30), st.integers(2, 6))
def test_windows_follow_each_other_up_to_the_end_and_nothing_of_a_future_is_in_its_past(seed, horizon, cuts):
    shop = worlds.world(seed, n_events=300)
    windows = splits.by_time(shop.events, shop.until, horizon, cuts, (BUY,))
    step = int(horizon * DAY)
    cuts_at = [shop.until - number * step for number in range(cuts, 0, -1)]
    assert [window.now for window in windows] == [cut for cut in cuts_at if cut in {one.now for one in windows}]
    for window in windows:
        assert window.past.time.max() < window.now <= window.future.time.min()
        assert window.future.time.max() < window.now + step <= shop.until
        assert set(window.future.event_type.tolist()) == {BUY}
        assert len(window.past) == (shop.events.time < window.now).sum()
    purchases = shop.events.of_types((BUY,))
    if len(windows) == cuts:
        assert sum(len(window.future) for window in windows) == (purchases.time >= windows[0].now).sum()


def test_a_window_with_nothing_to_learn_is_left_out():
    events = builders.events((0, 0, BUY, 10 * DAY), (0, 0, BUY, 28 * DAY), (0, 0, VIEW, 29 * DAY))
    windows = splits.by_time(events, 30 * DAY, 5.0, 6, (BUY,))
    assert [window.now for window in windows] == [25 * DAY]  # before day 10 there is no past, after it no purchase


def test_a_set_without_times_hides_a_fifth_in_each_window():
    shop = worlds.world(static=True, n_events=2000)
    windows = splits.static(shop.events, 3, INTERACTION_TYPES, seed=5)
    interactions = np.isin(shop.events.event_type, INTERACTION_TYPES).mean()
    for window in windows:
        assert window.now == 0
        assert len(window.past) == pytest.approx(1600, abs=80)
        assert len(window.future) == pytest.approx(400 * interactions, abs=60)
    hidden = [set(window.future.session_num.tolist()) for window in windows]
    assert hidden[0] != hidden[1] != hidden[2]
    again = splits.static(shop.events, 3, INTERACTION_TYPES, seed=5)
    assert [window.future.item_num.tolist() for window in windows] == [one.future.item_num.tolist() for one in again]


def test_no_event_is_both_past_and_future_of_a_static_window():
    shop = worlds.world(static=True)
    for window in splits.static(shop.events, 2, tuple(EventType), seed=1):
        together = np.sort(np.concatenate([window.past.session_num, window.future.session_num]))
        assert together.tolist() == np.sort(shop.events.session_num).tolist()


@pytest.mark.parametrize(
    ("purchases", "expected"), [(0, INTERACTION_TYPES), (1, INTERACTION_TYPES), (2, (BUY,)), (500, (BUY,))]
)
def test_purchases_are_predicted_where_the_shop_has_enough_of_them(purchases, expected):
    events = builders.events(*[(0, 0, BUY if row < purchases else VIEW, row) for row in range(1000)])
    assert splits.target_types(events) == expected


def returning(n_users: int, gap_days: float, visits: int) -> list[tuple]:
    rows = [(user, 0, BUY, int(visit * gap_days * DAY) + user) for user in range(n_users) for visit in range(visits)]
    return sorted(rows, key=lambda row: row[3])


def test_the_horizon_is_the_usual_gap_between_visits():
    assert splits.horizon_days(builders.events(*returning(400, 7, 12)), (BUY,), 3) == pytest.approx(7)


def test_the_horizon_grows_until_a_window_holds_enough_users_but_leaves_half_of_the_time_as_past():
    events = builders.events(*returning(20, 2, 50))
    span = (events.time[-1] - events.time[0]) / DAY
    assert splits.horizon_days(events, (BUY,), 3) == pytest.approx(span / 6)
    assert splits.horizon_days(builders.events((0, 0, BUY, 5)), (BUY,), 3) == 1.0
