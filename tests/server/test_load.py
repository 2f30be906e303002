"""The load generator against real servers: what it sends, what it counts, and what it sees in the answers."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from recsys.types import Answer, ServedFrom, Slate, SlateItem
from recsys.v1 import recommendation_service_pb2 as pb
from recsys_server.load import loops, plan, verdict
from recsys_server.load.hpack import Decoder, Encoder
from recsys_server.load.loops import Target
from recsys_server.load.plan import Crowd
from server_fakes import FakeRecommender, FakeRegistry, serving, settings

USERS = 50
CROWD = Crowd(USERS, 600, 0.2, 7)
KNOWN = [f"u{number:08d}" for number in range(USERS)]


class OwnSlates(FakeRecommender):
    """Gives each known user items of that user's own."""

    def _slate(self, query):
        start = KNOWN.index(query.user_id) if query.user_id in self.users else 0
        picked = [f"i{(7 * start + place) % 600}" for place in range(query.slate_size)]
        items = tuple(SlateItem(item, 1 / rank, ("als",)) for rank, item in enumerate(picked, start=1))
        return Slate(items, ServedFrom.MODEL if query.user_id in self.users else ServedFrom.POPULAR_CACHE)


class Swapping(OwnSlates):
    """Gives users who ask together each other's slates."""

    def answer(self, queries, timer):
        whole = super().answer(queries, timer)
        return Answer(whole.slates[::-1], whole.stage_seconds)


class Broken(OwnSlates):
    """Spoils the slates of known users in one way or another."""

    def __init__(self, spoil):
        super().__init__(users=KNOWN)
        self.spoil = spoil

    def _slate(self, query):
        slate = super()._slate(query)
        return slate._replace(**self.spoil(slate)) if query.user_id in self.users else slate


def target(client, timeout=2.0, connections=4):
    return Target(client.app.address, connections, timeout, 0.1, 0)


async def open_loop(client, rate=200.0, events=0.0, seconds=0.5):
    asked = plan.opened(CROWD, rate, events, 0.1 + seconds)
    calls = await loops.at_times(target(client), asked, seconds)
    return calls, verdict.figures(calls, 2.0, check=True)


@pytest.fixture
def uncached():
    return settings({"cache": {"user_mib": 0}})


async def test_an_open_loop_sends_what_is_due_and_reads_every_answer(uncached):
    async with serving(FakeRegistry(OwnSlates(users=KNOWN)), uncached) as client:
        calls, figures = await open_loop(client)
        again = await loops.alone(target(client), calls, verdict.worth_asking_again(calls, 20))
    due = int((calls.plan.due >= 0.1).sum())
    assert figures["sent"] == figures["ok"] == due > 50
    assert (figures["errors"], figures["wrong"], figures["degraded_share"]) == ({}, 0, 0)
    assert figures["served_from"]["SERVED_FROM_MODEL"] == int(calls.plan.known[calls.plan.due >= 0.1].sum())
    assert 0 < figures["ms"]["p50"] <= figures["ms"]["p95"] <= figures["ms"]["p99"] <= figures["ms"]["p99.9"]
    assert figures["bytes"] > 300
    np.testing.assert_allclose(calls.since - calls.since[0], calls.plan.due - calls.plan.due[0], atol=1e-6)
    assert (calls.late >= 0).all()
    assert verdict.judged_again(calls, again, verdict.worth_asking_again(calls, 20)) == (20, 0)
    unanswered = replace(again, codes=["UNAVAILABLE", *again.codes[1:]], bodies=[b"", *again.bodies[1:]])
    assert verdict.judged_again(calls, unanswered, verdict.worth_asking_again(calls, 20)) == (19, 0)


async def test_a_closed_loop_keeps_as_many_calls_under_way_as_it_is_told(uncached):
    recommender = OwnSlates(users=KNOWN)
    recommender.seconds = 0.005
    async with serving(FakeRegistry(recommender), uncached) as client:
        asked = plan.closed(replace(CROWD, unknown=0.0), 1_000)
        calls = await loops.in_turn(target(client), asked, 0.4, depth=2)
    figures = verdict.figures(calls, 2.0, check=True)
    assert figures["wrong"] == 0
    assert 80 < figures["answered_per_second"] < 220  # one at a time takes 5 ms
    assert max(len(batch) for batch in recommender.batches) <= 8
    assert set(calls.codes) == {"OK", ""}  # those that were never sent have no code


async def test_latency_counts_from_when_a_call_was_due_though_the_server_stood_still(uncached):
    recommender = OwnSlates(users=KNOWN)
    async with serving(FakeRegistry(recommender), uncached) as client:
        recommender.open.clear()
        asyncio.get_running_loop().call_later(0.5, recommender.open.set)
        calls, figures = await open_loop(client, rate=100.0)
    first = np.flatnonzero(calls.plan.known & (calls.plan.due > 0.1))[0]
    assert calls.until[first] - calls.since[first] > 0.5 - calls.plan.due[first] - 0.05
    assert figures["ms"]["p95"] > 250


@pytest.mark.parametrize(
    "spoil",
    [
        lambda slate: {"items": slate.items[:-1]},
        lambda slate: {"items": (*slate.items[:-1], slate.items[0]._replace(score=0.0))},
        lambda slate: {"items": slate.items[::-1]},
        lambda _: {"served_from": ServedFrom.POPULAR_CACHE},
    ],
    ids=["too few", "one twice", "worst first", "popular for a known user"],
)
async def test_a_slate_that_is_not_as_it_should_be_is_counted(uncached, spoil):
    async with serving(FakeRegistry(Broken(spoil)), uncached) as client:
        calls, figures = await open_loop(client)
    known = calls.plan.known & (calls.plan.due >= 0.1)
    assert figures["wrong"] == int(known.sum()) > 0


async def test_a_slate_of_somebody_else_shows_when_the_user_asks_again(uncached):
    recommender = Swapping(users=KNOWN)
    recommender.seconds = 0.002
    async with serving(FakeRegistry(recommender), uncached) as client:
        calls = await loops.in_turn(target(client), plan.closed(replace(CROWD, unknown=0.0), 500), 0.3, depth=4)
        numbers = verdict.worth_asking_again(calls, 30)
        again = await loops.alone(target(client), calls, numbers)
    assert verdict.figures(calls, 2.0, check=True)["wrong"] == 0
    compared, other = verdict.judged_again(calls, again, numbers)
    assert compared == len(numbers)
    assert other > 5


async def test_refused_calls_are_counted_by_their_code(uncached):
    async with serving(FakeRegistry(), uncached) as client:
        _, figures = await open_loop(client)
    assert figures["errors"] == {"UNAVAILABLE": figures["sent"]}
    assert (figures["ok"], figures["good"], figures["ms"]["p99"]) == (0, 0, None)


async def test_degraded_answers_are_counted_and_not_asked_for_again(uncached):
    impaired = Broken(lambda _: {"degraded": ("ranker",), "served_from": ServedFrom.FALLBACK})
    async with serving(FakeRegistry(impaired), uncached) as client:
        calls, figures = await open_loop(client)
    known = int((calls.plan.known & (calls.plan.due >= 0.1)).sum())
    assert figures["degraded"] == {"ranker": known}
    assert figures["degraded_share"] == round(known / figures["ok"], 4)
    assert figures["wrong"] == 0  # it says so
    assert verdict.worth_asking_again(calls, 5) == []


async def test_events_flow_beside_the_requests_and_are_kept(tmp_path):
    options = settings({"cache": {"user_mib": 0}}, state=tmp_path)
    async with serving(FakeRegistry(OwnSlates(users=KNOWN)), options) as client:
        calls, figures = await open_loop(client, rate=50.0, events=400.0)
    sent = int((~calls.plan.asks).sum())
    assert figures["records"]["kept"] == figures["records"]["events"] == 10 * figures["records"]["calls"] > 0
    with sqlite3.connect(tmp_path / "events.db") as log:
        assert log.execute("SELECT COUNT(DISTINCT event_id) FROM events").fetchone() == (10 * sent,)


async def test_calls_on_a_connection_that_breaks_are_told_as_lost():
    async def hang_up(reader, writer):
        await reader.read(200)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        whom = Target(f"127.0.0.1:{port}", 2, 0.2, 0.0, 0)
        calls = await loops.at_times(whom, plan.opened(CROWD, 100.0, 0.0, 0.2), 0.2)
    assert set(calls.codes) == {"CONNECTION_LOST"}


def test_users_follow_zipfs_law_and_a_share_is_unknown():
    messages, known = Crowd(10_000, 100, 0.1, 7).requests(20_000)
    ids = [pb.RecommendRequest.FromString(message).user_id for message in messages]
    assert abs(known.mean() - 0.9) < 0.01
    assert all(one.startswith("u0000") == each for one, each in zip(ids, known.tolist(), strict=True))
    (_, most), (_, second) = Counter(one for one in ids if one.startswith("u")).most_common(2)
    assert most / 18_000 == pytest.approx(np.log(2) / np.log(10_000), rel=0.1)
    assert second / most == pytest.approx(np.log(1.5) / np.log(2), rel=0.15)
    assert Crowd(10_000, 100, 0.1, 7).requests(20_000)[0] == messages
    assert Crowd(10_000, 100, 0.1, 8).requests(20_000)[0] != messages


def test_header_blocks_are_read_as_the_standard_has_them():
    decoder = Decoder()  # RFC 7541, appendix C.3, without Huffman's code
    first = bytes.fromhex("828684410f7777772e6578616d706c652e636f6d")
    second = bytes.fromhex("828684be58086e6f2d6361636865")
    third = bytes.fromhex("828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565")
    newest = b"\xbe"
    assert decoder.headers(first)[b""] == decoder.headers(newest)[b""] == b"www.example.com"
    assert decoder.headers(second)[b""] == decoder.headers(newest)[b""] == b"no-cache"
    assert decoder.headers(third) == {b"": b"www.example.com", b"custom-key": b"custom-value"}


def test_what_was_said_once_is_short_from_then_on():
    encoder, decoder = Encoder(), Decoder()
    headers = ((b":method", b"POST"), (b":path", b"/a/b"), (b"te", b"trailers"))
    other = ((b":path", b"/c/d"), (b"te", b"trailers"))
    # What is known of a block is no longer true once something new has been said.
    blocks = [encoder.block(each) for each in (headers, headers, other, headers, other, headers)]
    read = [decoder.headers(block) for block in blocks]
    assert [one[b":path"] for one in read] == [b"/a/b", b"/a/b", b"/c/d", b"/a/b", b"/c/d", b"/a/b"]
    assert all(one[b"te"] == b"trailers" for one in read)
    assert len(blocks[1]) == len(blocks[3]) == 3
    assert blocks[1] != blocks[3] == blocks[5]


def test_the_command_tells_in_one_line_that_nobody_listens():
    command = [sys.executable, "-m", "recsys_server.load", "127.0.0.1:1", "--users", "5", "--seconds", "0.1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("load: 127.0.0.1:1: ")
    assert done.stderr.count("\n") == 1


def test_the_command_measures_an_echo_server_and_its_cpu_time():
    echo = subprocess.Popen(
        [sys.executable, "-m", "recsys_server.echo", "--bytes", "700"], stdout=subprocess.PIPE, text=True
    )
    with echo:
        address = echo.stdout.readline().split(" on ")[1].split(",")[0]
        options = ["--unchecked", "--seconds", "0.6", "--warm-up", "0.1", "--users", "9", "--pid", str(echo.pid)]
        command = [sys.executable, "-m", "recsys_server.load", address, *options]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        echo.terminate()
    figures = json.loads(done.stdout)
    assert (figures["bytes"], figures["errors"]) == (700, {})
    assert figures["ok"] == figures["sent"] > 100
    assert 10 < figures["cpu_us"] < 5_000
