"""Windows of the past."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
import worlds
from recsys import splits
from recsys.interactions import Events
from recsys.types import INTERACTION_TYPES, SECONDS_PER_DAY, EventType

BUY, VIEW = EventType.PURCHASE, EventType.VIEW_ITEM
DAY = SECONDS_PER_DAY


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 99), st.floats(0.5, 30), st.integers(2, 6))
def test_windows_follow_each_other_up_to_the_end_and_nothing_of_a_future_is_in_its_past(seed, horizon, cuts):
    shop = worlds.world(seed, n_events=300)
    windows = splits.by_time(shop.events, shop.until, horizon, cuts, (BUY,))
    step = int(horizon * DAY)
    bought = shop.events.of_types((BUY,)).time
    cuts_at = [shop.until - number * step for number in range(cuts, 0, -1)]
    useful = [cut for cut in cuts_at if cut > shop.events.time[0] and ((bought >= cut) & (bought < cut + step)).any()]
    assert [window.now for window in windows] == useful
    for window in windows:
        assert window.past.time.max() < window.now <= window.future.time.min()
        assert window.future.time.max() < window.now + step <= shop.until
        assert set(window.future.event_type.tolist()) == {BUY}
        assert len(window.past) == (shop.events.time < window.now).sum()
    if len(windows) == cuts:
        assert sum(len(window.future) for window in windows) == (bought >= windows[0].now).sum()


def test_a_window_with_nothing_to_learn_is_left_out():
    events = builders.events((0, 0, BUY, 10 * DAY), (0, 0, BUY, 28 * DAY), (0, 0, VIEW, 29 * DAY))
    windows = splits.by_time(events, 30 * DAY, 5.0, 6, (BUY,))
    assert [window.now for window in windows] == [25 * DAY]  # before day 10 there is no past, after it no purchase


def pairs(events: Events) -> set[tuple[int, int]]:
    return set(zip(events.user_num.tolist(), events.item_num.tolist(), strict=True))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.booleans())
def test_hidden_items_are_a_share_of_each_user_s_and_nothing_of_them_stays_in_the_past(seed, static):
    shop = worlds.world(seed, n_events=400, static=static)
    n_users, n_items = len(shop.users), len(shop.items)
    windows = splits.hidden(shop.events, shop.until, n_users, n_items, 3, (BUY,), seed)
    bought = pairs(shop.events.of_types((BUY,)))
    for window in windows:
        assert window.now == shop.until
        assert not pairs(window.past) & pairs(window.future)
        assert set(window.future.event_type.tolist()) == {BUY}
        assert pairs(window.past.of_types((BUY,))) | pairs(window.future) == bought
        assert (window.past.user_num >= n_users).sum() == (shop.events.user_num >= n_users).sum()
        for user in range(n_users):
            own = sum(of == user for of, _ in bought)
            assert sum(of == user for of, _ in pairs(window.future)) == (max(1, own // 5) if own > 1 else 0)
    again = splits.hidden(shop.events, shop.until, n_users, n_items, 3, (BUY,), seed)
    assert [pairs(window.future) for window in windows] == [pairs(window.future) for window in again]
    assert pairs(windows[0].future) != pairs(windows[1].future)


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
