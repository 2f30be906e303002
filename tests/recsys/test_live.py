"""Live events stand before the histories of the bundle, told apart by visits."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
from recsys.interactions import NEW_SESSION, Histories
from recsys.live import with_live
from recsys.types import EventType, LiveEvent
from recsys.vocabulary import Vocabulary

VIEW, BUY, SEEN = EventType.VIEW_ITEM, EventType.PURCHASE, EventType.IMPRESSION
ITEMS = Vocabulary.of(["a", "b", "c"])
KNOWN = Histories.of(builders.events((0, 0, VIEW, 5), (1, 1, BUY, 6, 3, 1.0, 2.5), (1, 2, VIEW, 7, 4)), 3, 10)


def rows(histories):
    """Each row's (item_num, type, time), newest first."""
    entries = list(zip(histories.item_num, histories.event_type, histories.time, strict=True))
    return [entries[start:stop] for start, stop in zip(histories.indptr, histories.indptr[1:], strict=False)]


def sessions(*events):
    """The visit of each event, numbered from 0 in order."""
    row = with_live(KNOWN.rows(np.array([1])), [events], ITEMS).session_num.tolist()
    assert row[-2:] == [4, 3]
    assert all(num < NEW_SESSION for num in row[:-2])
    return [list(dict.fromkeys(row)).index(num) for num in row[:-2]]


live_rows = st.lists(
    st.builds(LiveEvent, st.sampled_from(["a", "b", "c", "new"]), st.sampled_from(list(EventType)), st.integers(8, 99)),
    max_size=6,
).map(lambda events: sorted(events, key=lambda event: -event.time))


@settings(max_examples=100, deadline=None)
@given(st.tuples(live_rows, live_rows, live_rows))
def test_each_row_starts_with_its_live_events_but_unknown_items_and_impressions(live):
    longer = with_live(KNOWN, live, ITEMS)
    for before, after, events in zip(rows(KNOWN), rows(longer), live, strict=True):
        kept = [one for one in events if one.item_id != "new" and one.event_type != SEEN]
        assert after == [("abc".index(one.item_id), one.event_type, one.time) for one in kept] + before
    assert [column.dtype for column in longer.columns] == [column.dtype for column in KNOWN.columns]
    assert longer.indptr.dtype == np.int64


def test_prices_come_along_and_are_unknown_where_they_are():
    longer = with_live(KNOWN.rows(np.array([1])), [[LiveEvent("a", BUY, 9, 7.5), LiveEvent("a", BUY, 9)]], ITEMS)
    np.testing.assert_array_equal(longer.price, np.array([7.5, np.nan, np.nan, 2.5], dtype=np.float32))


def test_without_live_events_the_histories_stay_as_they_are():
    assert with_live(KNOWN, [(), (), ()], ITEMS) is KNOWN
    assert with_live(KNOWN, [(), [LiveEvent("new", VIEW, 9)], ()], ITEMS) is KNOWN


def test_a_session_id_tells_visits_apart_whatever_the_pause():
    assert sessions(
        LiveEvent("a", VIEW, 90_000, session_id="s"),
        LiveEvent("b", VIEW, 80_000, session_id="t"),
        LiveEvent("c", VIEW, 10_000, session_id="s"),
    ) == [0, 1, 0]


def test_without_a_session_id_the_day_tells_visits_apart_as_in_a_dataset():
    times = [90_000, 86_400, 86_399, 80_000]
    assert sessions(*(LiveEvent("a", VIEW, time) for time in times)) == [0, 0, 1, 1]
    named = LiveEvent("b", VIEW, 19_500, session_id="s")
    assert sessions(LiveEvent("a", VIEW, 20_000), named, LiveEvent("a", VIEW, 19_000)) == [0, 1, 0]


def test_visits_of_two_users_never_mix():
    live = [[LiveEvent("a", VIEW, 90, session_id="s")], [LiveEvent("a", VIEW, 90, session_id="s")], ()]
    longer = with_live(KNOWN, live, ITEMS)
    assert longer.session_num[longer.indptr[0]] != longer.session_num[longer.indptr[1]]
