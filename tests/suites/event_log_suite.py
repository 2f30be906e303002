"""What every event log promises: a store proves it by a test class that inherits this one and makes its logs."""

import math
import threading
from collections.abc import Callable

import pytest

from recsys.event_log import EventLog, LoggedEvent, UserState
from recsys.types import SECONDS_PER_DAY as DAY
from recsys.types import EventType, LiveEvent

VIEW, BUY, SEARCH, SEEN = EventType.VIEW_ITEM, EventType.PURCHASE, EventType.SEARCH, EventType.IMPRESSION
Open = Callable[[], EventLog]


def event(event_id: str, time: int = 100, item_id: str = "i1", event_type: EventType = VIEW, **further) -> LoggedEvent:
    return LoggedEvent(event_id, further.pop("user_id", "u1"), item_id, event_type, time, **further)


def stored(log: EventLog) -> list[LoggedEvent]:
    return [one for part in log.scan() for one in part]


def accepted(log: EventLog, events: list[LoggedEvent]) -> list[bool]:
    return [one.is_new for one in log.append(events)]


def items(state: UserState) -> list[str]:
    return [one.item_id for one in state.events]


class EventLogSuite:
    """Needs a fixture ``open_log``: opens the one log of the test, once more at each call, and closes them all."""

    @pytest.fixture
    def log(self, open_log: Open) -> EventLog:
        return open_log()

    def test_what_was_appended_is_read_back_whole_by_who_opens_the_log_later(self, log, open_log):
        full = LoggedEvent("a", "u", "í-1", BUY, 7, 2.5, 9.99, "visit", "slate", 3)
        assert accepted(log, [full, event("b")]) == [True, True]
        log.close()
        assert stored(open_log()) == [full, event("b")]

    def test_an_event_id_counts_once_in_one_call_and_across_calls_and_the_first_one_stays(self, log, open_log):
        assert accepted(log, [event("a"), event("b"), event("a", item_id="other")]) == [True, True, False]
        assert accepted(open_log(), [event("b", item_id="other"), event("c")]) == [False, True]
        assert [(one.event_id, one.item_id) for one in stored(log)] == [("a", "i1"), ("b", "i1"), ("c", "i1")]

    def test_an_event_is_seen_at_once_by_all_who_have_the_log_open(self, log, open_log):
        others = [open_log(), open_log()]
        log.append([event("a")])
        assert [items(other.of_user("u1", 0, 10)) for other in others] == [["i1"], ["i1"]]

    def test_a_mark_tells_each_process_which_users_have_events_since_a_time_and_when_one_joins(self, log, open_log):
        other = open_log()
        assert other.mark("u1", 0) == 0
        marks = []
        for number in range(3):
            log.append([event(str(number), 5 * DAY), event(f"x{number}", DAY, user_id="u2")])
            marks.append(other.mark("u1", 5 * DAY + 9))
        assert len({0, *marks}) == 4, "each event changes it"
        assert (other.mark("u1", 6 * DAY), other.mark("u2", 2 * DAY), other.mark("u3", 0)) == (0, 0, 0)
        log.append([event("0"), event("s", 9 * DAY, "", SEARCH), event("i", 9 * DAY, "i1", SEEN), event("o", 1)])
        assert other.mark("u1", 6 * DAY) == 0, "what is no history is not marked"
        assert other.mark("u1", 5 * DAY) > marks[-1], "an old event keeps the day of the newest"

    def test_news_are_the_events_behind_a_sequence_number_and_tell_the_last_one_of_the_log(self, log):
        assert log.news("u1", 0, 10, 0) == (UserState(), 0)
        log.append([event("a", 100, "i1"), event("b", 300, "i3"), event("x", 400, user_id="u2")])
        state, taken = log.news("u1", 0, 10, 0)
        assert (items(state), taken) == (["i3", "i1"], 3)
        assert log.news("u1", 0, 10, taken) == (UserState(), 3)
        log.append([event("c", 200, "i2"), event("d", 50, "i0")])
        state, taken = log.news("u1", 100, 10, taken)
        assert (items(state), state.version, taken) == (["i2"], 4, 5)

    def test_a_user_has_own_events_newest_first_those_of_one_time_by_their_arrival(self, log):
        log.append([event("a", 100, "i1"), event("b", 300, "i3"), event("x", 400, "i9", user_id="u2")])
        log.append([event("c", 200, "i2"), event("d", 300, "i4", price=5.0, session_id="s")])
        state = log.of_user("u1", 0, 10)
        assert items(state) == ["i4", "i3", "i2", "i1"]
        assert state.events[0] == LiveEvent("i4", VIEW, 300, 5.0, "s")
        assert math.isnan(state.events[1].price)

    def test_a_user_has_no_event_from_before_the_time_asked_for_and_no_more_than_the_limit(self, log):
        log.append([event(str(time), time, f"i{time}") for time in range(100, 110)])
        assert items(log.of_user("u1", 107, 10)) == ["i109", "i108", "i107"]
        assert items(log.of_user("u1", 100, 2)) == ["i109", "i108"]

    def test_searches_and_impressions_are_kept_but_are_no_history(self, log):
        log.append([event("a"), event("b", 200, "", SEARCH), event("c", 300, "i2", SEEN)])
        assert len(stored(log)) == 3
        assert items(log.of_user("u1", 0, 1)) == ["i1"]

    def test_the_version_grows_with_each_event_that_joins_the_state_and_only_then(self, log):
        assert log.of_user("u1", 0, 10) == UserState((), 0)
        versions = []
        for one in (event("a", 300), event("b", 100), event("c", 200), event("d", 300)):
            log.append([one])
            versions.append(log.of_user("u1", 0, 10).version)
        assert versions == sorted(set(versions))
        log.append([event("d", 900), event("e", user_id="u2"), event("f", event_type=SEEN)])
        assert log.of_user("u1", 0, 10).version == versions[-1] > 0

    def test_writers_that_append_at_once_all_get_through_and_store_each_event_once(self, open_log):
        def write(log: EventLog, name: str) -> None:
            for turn in range(20):
                new.extend(accepted(log, [event(f"{name}{turn}"), event(f"shared{turn}")]))

        new: list[bool] = []
        logs = [open_log() for _ in range(4)]
        threads = [threading.Thread(target=write, args=(log, f"w{num}-")) for num, log in enumerate(logs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ids = [one.event_id for one in stored(logs[0])]
        assert len(new) == 160
        assert sum(new) == len(ids) == len(set(ids)) == 100

    def test_a_scan_shows_the_log_as_it_was_when_it_began(self, log, open_log):
        log.append([event(str(num)) for num in range(20_005)])
        scan = log.scan()
        seen = len(next(scan))
        open_log().append([event("late")])
        assert seen + sum(map(len, scan)) == 20_005

    def test_pruning_takes_what_is_older_and_leaves_the_rest(self, log):
        log.append([event(str(num), time=num % 100) for num in range(12_000)])
        assert sum(log.prune(before=30)) == 3_600
        assert min(one.event_time for one in stored(log)) == 30
        assert len(stored(log)) == 8_400
        assert sum(log.prune(before=30)) == 0
        assert accepted(log, [event("7", 90), event("50")]) == [True, False]
        assert sum(log.prune(before=1_000)) == 8_401
        log.append([event("alone")])
        assert sum(log.prune(before=1_000)) == 1
        assert stored(log) == []
