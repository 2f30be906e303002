"""Users stopped in the middle of a visit: what is known of them comes before what is to be found."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
import worlds
from recsys.types import INTERACTION_TYPES, SECONDS_PER_DAY, EventType
from recsys_offline.train import visits

PURCHASES = (EventType.PURCHASE,)
BUY, VIEW = EventType.PURCHASE, EventType.VIEW_ITEM
CUT = worlds.START + 40 * SECONDS_PER_DAY

drawn_from_worlds = given(st.integers(0, 300), st.sampled_from([PURCHASES, INTERACTION_TYPES]), st.integers(0, 50))
few = settings(max_examples=40, deadline=None)


def draw(seed, targets=PURCHASES, limit=50, shop=None):
    shop = shop or worlds.world(seed, n_users=25, n_events=700)
    past, after = shop.events.before(CUT), shop.events.between(CUT, shop.until)
    random = np.random.default_rng(seed)
    return shop, visits.draw(past, after, len(shop.users), len(shop.items), targets, limit, random)


def pairs(events):
    """(item, type, time) of each event."""
    return list(zip(events.item_num.tolist(), events.event_type.tolist(), events.time.tolist(), strict=True))


def each(shop, drawn):
    """Of each drawn user: known from before the cut, known of the window, all before the cut, all of the window.

    In the order of time; events that count as history before the cut, interactions from there on.
    """
    own = shop.events.where(shop.events.event_type != EventType.IMPRESSION)
    for row, user in enumerate(drawn.truth.user_num.tolist()):
        known = pairs(drawn.history.rows(np.array([row])))[::-1]
        events = own.where(own.user_num == user)
        later = pairs(events.between(CUT, shop.until).of_types(INTERACTION_TYPES))
        yield (
            [event for event in known if event[2] < CUT],
            [event for event in known if event[2] >= CUT],
            pairs(events.before(CUT)),
            later,
        )


@few
@drawn_from_worlds
def test_known_is_how_the_window_began_and_to_be_found_is_how_it_went_on(seed, targets, limit):
    shop, drawn = draw(seed, targets, limit)
    for row, (_, known, _, window) in enumerate(each(shop, drawn)):
        assert known == window[: len(known)]
        rest = window[len(known) :]
        found = drawn.truth.item_num[slice(*drawn.truth.indptr[row : row + 2])]
        assert set(found.tolist()) == {item for item, event_type, _ in rest if event_type in targets}
        assert 1 <= len({item for item, *_ in known}) <= visits.MOST_KNOWN_ITEMS
        assert drawn.now[row] == known[-1][2]


@few
@drawn_from_worlds
def test_of_a_user_everything_from_before_the_window_is_known_or_nothing(seed, targets, limit):
    shop, drawn = draw(seed, targets, limit)
    for before, _, everything, _ in each(shop, drawn):
        assert before in ([], everything)


def test_two_in_three_of_the_users_or_so_are_taken_for_new():
    shop, drawn = draw(2, shop=worlds.world(2, n_users=400, n_events=20_000), limit=400)
    remembered = [bool(before) for before, _, everything, _ in each(shop, drawn) if everything]
    assert len(remembered) > 200
    assert 0.2 < np.mean(remembered) < 0.4


def test_users_are_stopped_after_one_to_five_items():
    shop, drawn = draw(2, shop=worlds.world(2, n_users=100, n_events=9_000), limit=100)
    counts = {len({item for item, *_ in known}) for _, known, *_ in each(shop, drawn)}
    assert counts == set(range(1, visits.MOST_KNOWN_ITEMS + 1))


@few
@drawn_from_worlds
def test_at_most_as_many_users_are_drawn_as_asked_for_and_none_is_an_anonymous_session(seed, targets, limit):
    shop, drawn = draw(seed, targets, limit)
    assert len(drawn.truth) == len(drawn.history) == len(drawn.now) <= limit
    assert (drawn.truth.user_num < len(shop.users)).all()
    everybody = draw(seed, targets, limit=1000)[1]
    assert len(drawn.truth) == min(limit, len(everybody.truth))


@few
@given(st.integers(0, 300))
def test_equal_seeds_draw_equal_visits_and_others_others(seed):
    one, same, other = (draw(number, limit=8, shop=worlds.world(1))[1] for number in (seed, seed, seed + 1))
    told = [
        (*(column.tolist() for column in (drawn.truth.user_num, drawn.truth.item_num, drawn.now)), pairs(drawn.history))
        for drawn in (one, same, other)
    ]
    assert told[0] == told[1] != told[2]


def test_who_does_nothing_more_after_the_first_items_is_not_asked():
    past = builders.events((0, 9, BUY, CUT - 1))
    after = builders.events((0, 1, BUY, CUT), (0, 1, BUY, CUT + 5), (1, 1, VIEW, CUT + 6), (1, 2, VIEW, CUT + 7))
    drawn = visits.draw(past, after, 2, 10, PURCHASES, 10, np.random.default_rng(0))
    assert len(drawn.truth) == 0
    assert len(drawn.history) == 0


def test_who_looks_at_an_item_and_buys_it_later_is_also_asked_between_the_two():
    users = range(200)
    looks = [(user, 1, VIEW, CUT + user) for user in users]
    buys = [(user, item, BUY, CUT + 1_000 * item + user) for item in (1, 2) for user in users]
    past = builders.events((0, 9, BUY, CUT - 1))
    drawn = visits.draw(past, builders.events(*looks, *buys), 200, 10, PURCHASES, 200, np.random.default_rng(0))
    known = [pairs(drawn.history.rows(np.array([row]))) for row in range(len(drawn.truth))]
    of_one_item = [events for events in known if len({item for item, *_ in events if item != 9}) == 1]
    assert len(of_one_item) > 20
    assert 0.3 < np.mean([len(events) == 1 for events in of_one_item]) < 0.7
