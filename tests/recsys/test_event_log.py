"""The event log in SQLite files: what every log promises, and what can happen to files."""

import shutil
import sqlite3
import threading

import pytest

from recsys import event_marks
from recsys.errors import StateError
from recsys.event_log import EventLog
from recsys.types import SECONDS_PER_DAY as DAY
from suites.event_log_suite import EventLogSuite, accepted, event, stored


@pytest.fixture
def open_log(tmp_path):
    logs = []

    def open_one():
        logs.append(EventLog(tmp_path / "state"))
        return logs[-1]

    yield open_one
    for log in logs:
        log.close()


class TestEventLog(EventLogSuite):
    pass


def test_a_torn_tail_is_cut_at_the_last_whole_commit(open_log, tmp_path):
    log, wal = open_log(), tmp_path / "state" / "events.db-wal"
    sizes = []
    for name in "abc":
        log.append([event(name)])
        sizes.append(wal.stat().st_size)
    for size in range(sizes[1], sizes[2] + 1, 997):
        torn = tmp_path / f"torn{size}"
        shutil.copytree(tmp_path / "state", torn, ignore=shutil.ignore_patterns("*-shm"))
        with (torn / "events.db-wal").open("r+b") as file:
            file.truncate(size)
        mended = EventLog(torn)
        assert [one.event_id for one in stored(mended)] == ["a", "b"]
        assert accepted(mended, [event("c"), event("a")]) == [True, False]
        mended.close()


@pytest.mark.parametrize("lost", ["all marks", "those that were not on disk yet"])
def test_marks_that_a_power_failure_took_are_made_again_from_the_log(open_log, tmp_path, monkeypatch, lost):
    monkeypatch.setattr(event_marks, "KEPT_AT_ONCE", 4)
    path, log = tmp_path / "state" / event_marks.FILE, open_log()
    log.append([event(str(number), DAY * number, user_id=f"u{number}") for number in range(4)])
    on_disk = path.read_bytes()
    log.append([event(str(number), DAY * number, user_id=f"u{number}") for number in range(4, 6)])
    log.append([event("again", DAY * 9, user_id="u1")])
    marks = [log.mark(f"u{number}", 0) for number in range(6)]
    if lost == "all marks":
        path.unlink()
    else:
        path.write_bytes(on_disk)
        assert log.mark("u4", 0) == 0
    later = open_log()
    assert [later.mark(f"u{number}", 0) for number in range(6)] == marks
    assert 0 not in marks
    assert later.mark("u1", DAY * 9) == marks[1]


@pytest.mark.parametrize("known", [[], [3], [0, 250, 449]])
def test_of_many_events_at_once_each_new_one_is_stored_and_marked_with_its_number(open_log, known):
    log = open_log()
    log.append([event("before")])
    log.append([event(str(number), user_id=f"u{number}") for number in known])
    marks = {number: log.mark(f"u{number}", 0) for number in known}
    many = [event(str(number), user_id=f"u{number}") for number in range(450)]
    kept = accepted(log, [*many, many[7]])
    assert kept == [number not in known for number in range(450)] + [False]
    numbered = {one.event_id: sequence for part in log.scan_numbered() for sequence, one in part}
    assert list(numbered) == ["before", *map(str, known), *(str(n) for n in range(450) if n not in known)]
    for number in range(450):
        mark = log.mark(f"u{number}", 0)
        assert event_marks.last_of(mark) >= numbered[str(number)], "users who share a mark have that of the latest"
        assert number not in known or mark == marks[number] or event_marks.last_of(mark) > numbered[str(number)]
    assert event_marks.last_of(log.mark("u449", 0)) in numbered.values()


def test_an_append_that_fails_stores_nothing_and_the_log_goes_on(open_log):
    log = open_log()
    with pytest.raises(StateError, match=r"events\.db"):
        log.append([event("a"), event("b")._replace(item_id=None)])
    assert stored(log) == []
    assert accepted(log, [event("a")]) == [True]


def test_a_pruned_log_gives_its_space_back(open_log, tmp_path):
    log = open_log()
    log.append([event(str(num), time=num) for num in range(20_000)])
    sum(log.prune(before=1_000))
    size = (tmp_path / "state" / "events.db").stat().st_size
    sum(log.prune(before=19_000))
    assert (tmp_path / "state" / "events.db").stat().st_size < size / 5
    assert (tmp_path / "state" / "events.db-wal").stat().st_size == 0


def test_many_may_make_the_log_at_once(tmp_path):
    def start(number):
        log = EventLog(tmp_path / "new")
        done.append(accepted(log, [event(str(number))]))
        log.close()

    done = []
    threads = [threading.Thread(target=start, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [[True]] * 12


@pytest.mark.parametrize("harm", ["no database", "another version", "a file in its way"])
def test_a_file_that_cannot_be_used_is_an_error_of_one_line_that_names_it(tmp_path, harm):
    path = tmp_path / "state" / "events.db"
    if harm == "a file in its way":
        path.parent.write_text("")
    else:
        path.parent.mkdir()
        path.write_bytes(b"junk" * 2000)
    if harm == "another version":
        path.unlink()
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
    with pytest.raises(StateError, match=r"state\S*: .+; .+") as caught:
        EventLog(path.parent)
    assert "\n" not in str(caught.value)
