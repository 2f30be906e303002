"""Live events stand before the histories of the bundle, told apart by visits."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
from recsys.interactions import NEW_SESSION, Histories
from recsys.live import MOST_NEW, LiveEntries, with_live
from recsys.types import EventType, LiveEvent
from recsys.vocabulary import Vocabulary

VIEW, BUY, SEEN = EventType.VIEW_ITEM, EventType.PURCHASE, EventType.IMPRESSION
ITEMS = Vocabulary.of(["a", "b", "c"])
KNOWN = Histories.of(builders.events((0, 0, VIEW, 5), (1, 1, BUY, 6, 3, 1.0, 2.5), (1, 2, VIEW, 7, 4)), 3, 10)


def rows(histories):
    """Each row's (item_num, type, time), newest first."""
    entries = list(zip(histories.item_num, histories.event_type, histories.time, strict=True))
    return [entries[start:stop] for start, stop in zip(histories.indptr, histories.indptr[1:], strict=False)]


def told(histories, live, asked_at=100_000, now=100_000, until=0):
    """The histories with live events put first."""
    known = LiveEntries(ITEMS)
    entries = [known.of(str(user), tuple(events)) for user, events in enumerate(live)]
    return with_live(histories, entries, asked_at, now, until)


def sessions(*events):
    """The visit of each event, numbered from 0 in order."""
    row = told(KNOWN.rows(np.array([1])), [events]).session_num.tolist()
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
    longer = told(KNOWN, live)
    for before, after, events in zip(rows(KNOWN), rows(longer), live, strict=True):
        kept = [one for one in events if one.item_id != "new" and one.event_type != SEEN]
        assert after == [("abc".index(one.item_id), one.event_type, one.time) for one in kept] + before
    assert [column.dtype for column in longer.columns] == [column.dtype for column in KNOWN.columns]
    assert longer.indptr.dtype == np.int64


def test_prices_come_along_and_are_unknown_where_they_are():
    longer = told(KNOWN.rows(np.array([1])), [[LiveEvent("a", BUY, 9, 7.5), LiveEvent("a", BUY, 9)]])
    np.testing.assert_array_equal(longer.price, np.array([7.5, np.nan, np.nan, 2.5], dtype=np.float32))


def test_without_live_events_the_histories_stay_as_they_are():
    assert told(KNOWN, [(), (), ()]) is KNOWN
    assert told(KNOWN, [(), [LiveEvent("new", VIEW, 9)], ()]) is KNOWN


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


def test_live_events_are_as_long_ago_as_they_were_from_where_the_query_counts_as_asked():
    live = [[LiveEvent("a", VIEW, 1_000), LiveEvent("b", VIEW, 990), LiveEvent("c", VIEW, 20)], (), ()]
    assert [time for _, _, time in rows(told(KNOWN, live, 1_005, 40, 10))[0]] == [35, 25, 10, 5]
    assert [time for _, _, time in rows(told(KNOWN, live, 995, 40, 10))[0]] == [40, 35, 10, 5]  # a clock that is behind


visits = st.tuples(st.sampled_from(["a", "b", "new"]), st.sampled_from(["", "s", "t"]), st.integers(0, 200_000))
steps = st.lists(st.tuples(st.integers(0, MOST_NEW + 2), st.integers(0, 3), st.booleans()), max_size=8)


@settings(max_examples=100, deadline=None)
@given(st.lists(visits, min_size=40, max_size=40), steps)
def test_entries_that_grow_with_their_events_are_those_of_all_events(drawn, steps):
    source = [LiveEvent(item, VIEW, time, session_id=session) for item, session, time in drawn]
    known, events = LiveEntries(ITEMS), ()
    for new, old, again in steps:
        fresh, source = source[:new], source[new:] + source[:new]
        events = tuple(fresh) + events[: max(len(events) - old, 0)]
        got = known.of("u", (*events,) if again else events)
        whole = LiveEntries(ITEMS).of("u", events)
        for name in ("item_num", "time", "price", "event_type"):
            np.testing.assert_array_equal(got[name], whole[name])
        assert [*map(got["session_num"].tolist().index, got["session_num"])] == [
            *map(whole["session_num"].tolist().index, whole["session_num"])
        ]


def test_the_entries_of_one_user_are_never_those_of_another():
    known, one, other = LiveEntries(ITEMS), (LiveEvent("a", VIEW, 9),), (LiveEvent("b", VIEW, 9),)
    for _ in range(2):
        assert known.of("u", one)["item_num"].tolist() == [0]
        assert known.of("v", other)["item_num"].tolist() == [1]
