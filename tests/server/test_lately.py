"""What users did lately is in memory, and yet what any server acknowledged counts at once."""

import contextlib
import random

import pytest

from recsys import event_marks
from recsys.errors import StateError
from recsys.event_log import EventLog, LoggedEvent
from recsys.live import MOST_LIVE_EVENTS, merged
from recsys.types import SECONDS_PER_DAY as DAY
from recsys.types import EventType
from recsys_server.lately import Lately

SINCE = 5 * DAY + 100


def event(number, time=SINCE, user_id="u", item_id="i"):
    return LoggedEvent(str(number), user_id, item_id, EventType.VIEW_ITEM, time)


class CountingLog(EventLog):
    __slots__ = ("reads",)

    def news(self, *asked):
        self.reads = getattr(self, "reads", 0) + 1
        return super().news(*asked)


@pytest.fixture
def log(tmp_path):
    with contextlib.closing(CountingLog(tmp_path)) as log:
        log.reads = 0
        yield log


@pytest.fixture
def writer(tmp_path):
    with contextlib.closing(EventLog(tmp_path)) as log:
        yield log


def read(log, user_id="u", since=SINCE):
    state = log.of_user(user_id, since, MOST_LIVE_EVENTS)
    return merged(state.events, (), since), state.version


def test_whatever_comes_the_events_are_those_of_the_log(log, writer):
    random.seed(5)
    lately = Lately(log)
    for number in range(300):
        time = SINCE + random.choice([-DAY, -1, 0, 1, 2, 3 * number])
        writer.append([event(number, time, random.choice("uv"), random.choice("abc"))])
        for user in "uvw":
            state = lately.of_user(user, SINCE)
            assert (state.events, state.version) == read(writer, user)
        if number % 50 == 0:
            assert lately.of_user("u", SINCE + 2).events == read(writer, "u", SINCE + 2)[0]


def test_what_is_told_is_as_if_it_were_read_whoever_else_writes(log, writer, tmp_path):
    random.seed(6)
    lately, users = Lately(log), ["u", "v", alike("u")]
    with contextlib.closing(EventLog(tmp_path)) as other:
        for number in range(400):
            time = SINCE + random.choice([-DAY, -1, 0, 1, number, number // 9])
            events = [
                event(f"{number}-{each}", time, random.choice(users), random.choice("abcdefgh"))
                for each in range(random.randrange(1, 4))
            ]
            if random.random() < 0.8:
                again = [*events, event(f"{number - 1}-0")]
                lately.told(again, writer.append(again))
            else:
                other.append(events)
            for user in random.sample(users, 2):
                state = lately.of_user(user, SINCE)
                assert (state.events, state.version) == read(writer, user)


def alike(user_id):
    """Another user, who shares the mark of one."""
    place = event_marks._place(user_id)
    return next(other for other in map(str, range(10**8)) if event_marks._place(other) == place)


def test_what_was_told_is_not_read_again(log, writer):
    lately = Lately(log)
    writer.append([event(0)])
    lately.of_user("u", SINCE)
    for number in range(1, 250):
        events = [event(number, SINCE + number // 3, item_id=f"i{number}"), event(f"v{number}", user_id="v")]
        lately.told(events, writer.append(events))
        assert lately.of_user("u", SINCE).events == read(writer)[0]
    assert log.reads == 1


def test_more_events_than_are_kept_are_cut_to_the_newest(log, writer):
    lately = Lately(log)
    for part in range(4):
        writer.append([event(f"{part}-{number}", SINCE + 100 * part + number) for number in range(100)])
        assert lately.of_user("u", SINCE).events == read(writer)[0]
    assert len(lately.of_user("u", SINCE).events) == MOST_LIVE_EVENTS


def test_the_log_is_read_only_for_users_with_events_since_and_only_when_one_joins(log, writer):
    lately = Lately(log)
    writer.append([event(1), event(2, SINCE - DAY, "old")])
    for _ in range(3):
        assert not lately.of_user("nobody", SINCE).events
        assert not lately.of_user("old", SINCE).events
        assert lately.of_user("u", SINCE).events
    assert log.reads == 1
    writer.append([event(3)])
    lately.of_user("u", SINCE)
    assert log.reads == 2


def test_an_event_that_is_not_committed_yet_is_not_taken_for_seen(log, writer, tmp_path):
    lately = Lately(log)
    writer.append([event(1)])
    with contextlib.closing(EventLog(tmp_path)) as other:
        other._connection.execute("BEGIN IMMEDIATE")
        other._append(other._connection, [event(2, SINCE + 1)])
        assert len(lately.of_user("u", SINCE).events) == 1
        other._connection.execute("COMMIT")
    assert len(lately.of_user("u", SINCE).events) == 2


def test_those_who_asked_longest_ago_make_room_and_all_is_forgotten_when_told(log, writer):
    lately = Lately(log, most_kept=9)
    writer.append(
        [event(f"{user}{number}", user_id=user, item_id=f"i{number}") for user in "abc" for number in range(2)]
    )
    for user in "abcabc":
        lately.of_user(user, SINCE)
    assert log.reads == 3
    writer.append([event("d", user_id="d")])
    for user in "dbca":
        lately.of_user(user, SINCE)
    assert log.reads == 5, "d was read, and then a again"
    lately.forget()
    for user in "abc":
        lately.of_user(user, SINCE)
    assert log.reads == 8


def test_a_log_that_cannot_be_read_is_an_error_for_users_who_have_news(log, writer):
    lately = Lately(log)
    log._connection.close()
    writer.append([event(1)])
    assert lately.of_user("nobody", SINCE).events == ()
    with pytest.raises(StateError):
        lately.of_user("u", SINCE)
