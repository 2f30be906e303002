"""Events as columns, and the histories cut from them."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
from recsys.interactions import NEW_SESSION, Histories
from recsys.types import EventType

VIEW, BUY, SEEN = EventType.VIEW_ITEM, EventType.PURCHASE, EventType.IMPRESSION
USERS, ITEMS = 4, 5
rows = st.lists(
    st.tuples(st.integers(0, USERS), st.integers(0, ITEMS - 1), st.sampled_from([VIEW, BUY, SEEN]), st.integers(0, 9)),
    max_size=30,
).map(lambda drawn: sorted(drawn, key=lambda row: row[3]))


def listed(histories: Histories) -> list[list[tuple]]:
    """Each user's (item, type, time), newest first."""
    entries = list(zip(histories.item_num, histories.event_type, histories.time, strict=True))
    return [entries[start:stop] for start, stop in zip(histories.indptr, histories.indptr[1:], strict=False)]


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(0, 10), st.integers(0, 10))
def test_windows_of_time_take_their_start_and_leave_their_end(drawn, start, stop):
    events = builders.events(*drawn)
    assert events.before(stop).time.tolist() == [row[3] for row in drawn if row[3] < stop]
    assert events.between(start, stop).item_num.tolist() == [row[1] for row in drawn if start <= row[3] < stop]


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(1, 4))
def test_a_history_holds_the_newest_events_newest_first_and_neither_impressions_nor_anonymous_sessions(drawn, limit):
    histories = Histories.of(builders.events(*drawn), USERS, limit)
    for user, history in enumerate(listed(histories)):
        own = [row[1:] for row in drawn if row[0] == user and row[2] != SEEN]
        assert history == own[::-1][:limit]
    assert len(histories) == USERS
    assert histories.row.tolist() == [user for user, part in enumerate(listed(histories)) for _ in part]


@settings(max_examples=60, deadline=None)
@given(rows, st.lists(st.integers(-1, USERS - 1)))
def test_rows_are_the_histories_asked_for_and_an_unknown_user_has_an_empty_one(drawn, users):
    histories = Histories.of(builders.events(*drawn), USERS, limit=10)
    asked = listed(histories.rows(np.array(users, dtype=np.int32)))
    assert asked == [listed(histories)[user] if user >= 0 else [] for user in users]


@settings(max_examples=60, deadline=None)
@given(rows, st.lists(st.lists(st.integers(0, ITEMS - 1), max_size=3), min_size=USERS, max_size=USERS))
def test_a_new_visit_stands_before_what_was_known(drawn, visits):
    histories = Histories.of(builders.events(*drawn), USERS, limit=10)
    items = [np.array(visit, dtype=np.int32) for visit in visits]
    now = np.array([100 + user for user in range(USERS)])
    longer = histories.preceded_by(items, now, VIEW)
    for user, (before, after) in enumerate(zip(listed(histories), listed(longer), strict=True)):
        assert after == [(item, VIEW, 100 + user) for item in visits[user]] + before
    fresh = longer.time >= 100
    assert (longer.session_num[fresh] == NEW_SESSION).all()
    assert np.isnan(longer.price[fresh]).all()
    assert [column.dtype for column in longer.columns] == [column.dtype for column in histories.columns]


def test_prices_and_sessions_stay_with_their_events():
    events = builders.events((0, 1, BUY, 5, 7, 1.0, 9.5), (1, 2, BUY, 6, 8, 1.0, 3.0), (0, 3, BUY, 7, 9, 1.0, 4.5))
    histories = Histories.of(events, 2, limit=10)
    assert histories.price.tolist() == [4.5, 9.5, 3.0]
    assert histories.session_num.tolist() == [9, 7, 8]
