"""RecordEvents over a real server: what is acknowledged is in the log, what is wrong is told one by one."""

import asyncio
import contextlib
import gc
import sqlite3
import threading
import time

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

import server_fakes as fakes
from recsys.errors import StateError
from recsys.event_log import EventLog, LoggedEvent
from recsys.v1 import event_pb2, event_service_pb2, event_service_pb2_grpc
from recsys_server.errors import DeadlineError
from recsys_server.events import Recorder

HOUR_AGO = int(time.time()) - 3600  # not so old that it would be pruned
VIEW, SEARCH = event_pb2.EVENT_TYPE_VIEW_ITEM, event_pb2.EVENT_TYPE_SEARCH


def event(**fields):
    usual = {"user_id": "u1", "item_id": "i1", "event_type": VIEW, "event_time": Timestamp(seconds=HOUR_AGO)}
    return event_pb2.Event(**{**usual, **fields})


def request(*events):
    return event_service_pb2.RecordEventsRequest(events=events)


@contextlib.asynccontextmanager
async def serving(state, **server):
    """Without a bundle: events do not wait for one."""
    async with fakes.serving(fakes.FakeRegistry(), fakes.settings(state=state, **server)) as client:
        client.record = event_service_pb2_grpc.EventServiceStub(client.channel).RecordEvents
        yield client


def stored(state):
    with contextlib.closing(EventLog(state)) as log:
        return [one for part in log.scan() for one in part]


async def test_an_acknowledged_event_is_in_the_log_as_it_was_sent(tmp_path):
    full = event(event_id="e1", quantity=3, price=0.0, session_id="s", recommendation_id="r", position=500)
    async with serving(tmp_path) as client:
        response = await client.record(request(full, event(event_id="e2")))
        first, second = stored(tmp_path)
        assert client.app.state.of_user("u1", HOUR_AGO).version > 0
    assert (response.accepted_count, response.duplicate_count, list(response.rejections)) == (2, 0, [])
    assert first == ("e1", "u1", "i1", VIEW, HOUR_AGO, 3.0, 0.0, "s", "r", 500)
    assert second == ("e2", "u1", "i1", VIEW, HOUR_AGO, 1.0, None, "", "", 0)


async def test_an_event_sent_twice_is_stored_once_and_one_without_id_and_time_gets_them(tmp_path):
    async with serving(tmp_path) as client:
        await client.record(request(event(event_id="e1")))
        response = await client.record(request(event(event_id="e1"), event(event_id="e2"), event(event_id="e2")))
        assert (response.accepted_count, response.duplicate_count) == (1, 2)
        bare = event()
        bare.ClearField("event_time")
        await client.record(request(bare, bare))
    first, second = stored(tmp_path)[2:]
    assert first.event_id != second.event_id
    assert first.event_time > HOUR_AGO


WRONG = [
    ({"user_id": ""}, "user_id"),
    ({"item_id": ""}, "item_id"),
    ({"event_type": 0}, "event_type"),
    ({"event_type": 10}, "event_type"),
    ({"user_id": "ü" * 129}, "user_id"),
    ({"item_id": "a\0b"}, "item_id"),
    ({"session_id": "x" * 257}, "session_id"),
    ({"event_time": Timestamp(seconds=-1)}, "event_time"),
    ({"event_time": Timestamp(seconds=4_000_000_000)}, "event_time"),
    ({"quantity": 0}, "quantity"),
    ({"quantity": float("inf")}, "quantity"),
    ({"price": -0.01}, "price"),
    ({"price": float("nan")}, "price"),
    ({"position": 501}, "position"),
    ({"position": -1}, "position"),
]


async def test_a_bad_event_is_rejected_alone_with_the_field_that_is_wrong(tmp_path):
    good = [event(event_id="first"), event(event_id="search", event_type=SEARCH, item_id="")]
    bad = [event(event_id=f"bad{place}", **fields) for place, (fields, _) in enumerate(WRONG)]
    async with serving(tmp_path) as client:
        response = await client.record(request(good[0], *bad, good[1]))
        assert client.metric("recsys_events_total", result="rejected") == len(WRONG)
    assert response.accepted_count == 2
    assert [one.index for one in response.rejections] == list(range(1, len(WRONG) + 1))
    assert [one.reason.partition(":")[0] for one in response.rejections] == [field for _, field in WRONG]
    assert [one.event_id for one in stored(tmp_path)] == ["first", "search"]


async def test_a_call_of_no_events_or_too_many_is_refused(tmp_path):
    async with serving(tmp_path) as client:
        for count in (0, 1_001):
            details = await fakes.refused(client.record(request(*[event()] * count)))
            assert details.code.name == "INVALID_ARGUMENT"
            assert list(details.violations) == ["events"]
        assert (await client.record(request(*[event()] * 1_000))).accepted_count == 1_000


async def test_a_server_without_a_state_directory_says_how_to_give_it_one():
    async with serving(None) as client:
        details = await fakes.refused(client.record(request(event())))
    assert (details.code.name, details.reason) == ("FAILED_PRECONDITION", "NO_STATE")
    assert "--state" in details.message


async def test_calls_at_once_share_transactions_and_each_learns_what_became_of_its_own_events(tmp_path):
    async with serving(tmp_path) as client:
        calls = [
            client.record(request(event(event_id="shared"), event(event_id=f"a{num}"), event(user_id="")))
            for num in range(100)
        ]
        responses = await asyncio.gather(*calls)
    assert sum(one.accepted_count for one in responses) == len(stored(tmp_path)) == 101
    assert {one.accepted_count + one.duplicate_count for one in responses} == {2}
    assert {len(one.rejections) for one in responses} == {1}


async def test_what_one_server_acknowledged_another_one_knows_at_once(tmp_path):
    async with serving(tmp_path) as one, serving(tmp_path) as other:
        versions = {0}
        for num in range(300):
            server, reader = (one, other) if num % 2 else (other, one)
            await server.record(request(event(item_id=f"i{num}", event_id=f"e{num}")))
            state = reader.app.state.of_user("u1", 0)
            assert state.events[0].item_id == f"i{num}"
            assert state.version not in versions
            versions.add(state.version)


async def test_a_disk_that_fails_stores_nothing_and_the_client_may_try_again(tmp_path):
    async with serving(tmp_path) as client:
        with contextlib.closing(sqlite3.connect(tmp_path / "events.db")) as spoiler:
            spoiler.execute("CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        details = await fakes.refused(client.record(request(event(event_id="e1"))))
        assert (details.code.name, details.reason, details.retry_seconds) == ("UNAVAILABLE", "STORAGE", 1.0)
        with contextlib.closing(sqlite3.connect(tmp_path / "events.db")) as spoiler:
            spoiler.execute("DROP TRIGGER full")
        assert (await client.record(request(event(event_id="e1")))).accepted_count == 1
    assert len(stored(tmp_path)) == 1


async def test_when_too_many_calls_wait_for_the_disk_further_ones_are_refused_and_late_ones_told_so(tmp_path):
    async with serving(tmp_path, max_waiting=4, deadline_seconds=0.5) as client:
        with contextlib.closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            calls = [fakes.refused(client.record(request(event(event_id=f"e{num}")))) for num in range(20)]
            codes = [details.code.name for details in await asyncio.gather(*calls)]
            other.execute("ROLLBACK")
        late, refused = codes.count("DEADLINE_EXCEEDED"), codes.count("RESOURCE_EXHAUSTED")
        assert late + refused == 20
        assert (
            4 <= late <= 8
        )  # four that wait, and up to four in the transaction that hangs, if all have not come at once
    assert len(stored(tmp_path)) == late


async def test_few_events_gather_for_a_moment_after_a_transaction_and_many_wait_for_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("recsys_server.events.PAUSE_SECONDS", 3_600.0)
    monkeypatch.setattr("recsys_server.events.HASTE", 0.0)
    recorder, soon = Recorder(EventLog(tmp_path), 10, lambda *_: None), time.monotonic() + 30
    logged = iter(LoggedEvent(f"e{num}", "u1", "i1", 1, num) for num in range(1_000))

    def some(count):
        return asyncio.create_task(recorder.record([next(logged) for _ in range(count)], soon))

    assert await some(1) == [True]
    assert await some(100) == [True] * 100
    waiting = [some(40), some(40)]
    assert await asyncio.wait(waiting, timeout=0.2) == (set(), set(waiting))
    assert await some(20) == [True] * 20
    assert await asyncio.gather(*waiting) == [[True] * 40] * 2
    monkeypatch.setattr("recsys_server.events.HASTE", 1.0)
    hasty = recorder.record([next(logged)], time.monotonic() + 3_000)
    assert await asyncio.wait_for(hasty, 10) == [True]
    await recorder.close()


async def test_a_disk_that_fails_after_the_client_has_given_up_is_told_in_one_line(tmp_path, caplog):
    blocked = threading.Event()

    class Full(EventLog):
        def append(self, _):
            assert blocked.wait(5)
            raise StateError("the disk is full")

    recorder = Recorder(Full(tmp_path), 10, lambda *_: None)
    with pytest.raises(DeadlineError):
        await recorder.record([object()], time.monotonic() + 0.05)
    gone = asyncio.create_task(recorder.record([object()], time.monotonic() + 5))
    await asyncio.sleep(0)
    gone.cancel()
    blocked.set()
    await recorder.close()
    await asyncio.sleep(0)
    del gone, recorder
    gc.collect()
    assert {record.getMessage() for record in caplog.records} == {"events were not stored: the disk is full"}


async def test_old_events_go_when_the_server_starts_and_none_where_they_are_kept_for_ever(tmp_path):
    async with serving(tmp_path) as client:
        await client.record(request(event(event_time=Timestamp(seconds=1))))
        now = event()
        now.event_time.GetCurrentTime()
        await client.record(request(now))
    kept = fakes.settings({"state": {"retention_days": 0}}, state=tmp_path)
    async with fakes.serving(fakes.FakeRegistry(), kept):
        await asyncio.sleep(0.2)
    assert len(stored(tmp_path)) == 2
    async with serving(tmp_path):
        await fakes.until(lambda: len(stored(tmp_path)) == 1)


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_retention_is_no_negative_number(seconds):
    sections = {"state": {"retention_days": seconds}}
    if seconds < 0:
        with pytest.raises(ValueError, match="retention_days"):
            fakes.settings(sections)
    else:
        assert fakes.settings(sections).state.retention_days == 0
