"""The process that speaks gRPC, and what becomes of calls when one of the two processes dies."""

import asyncio
import os
import signal
import threading
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st

from recsys.v1 import recommendation_service_pb2 as pb
from recsys_server.app import App
from recsys_server.front import FEW_PENDING, MAX_MESSAGE_BYTES, link
from recsys_server.front.frames import Frames, Kind, call_of, packed
from recsys_server.front.methods import METHODS, PATHS, SERVICES
from server_fakes import Details, FakeRecommender, FakeRegistry, loop_apart, refused, serving, settings, until
from server_process import children, ended, started


class Wire:
    """A transport that keeps what is written."""

    def __init__(self):
        self.data = b""

    def write(self, data):
        self.data += data


frames = st.lists(st.tuples(st.sampled_from(Kind), st.integers(0, 2**64 - 1), st.binary(max_size=300)), max_size=12)


@given(frames, st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_frames_come_out_as_they_went_in_however_the_socket_cuts_them(sent, cuts):
    wire, told = Wire(), []
    one = Frames({}, lambda: None)
    other = Frames({kind: partial(lambda *frame: told.append(frame), kind) for kind in Kind}, lambda: None)
    one.connection_made(wire)
    for frame in sent:
        one.send(*frame)
    rest = wire.data
    for size in [*cuts, len(rest)]:
        part, rest = rest[:size], rest[size:]
        other.data_received(part)
    assert told == sent


def test_frames_that_are_sent_together_are_written_once_and_those_before_and_after_at_once():
    written = []
    one = Frames({}, lambda: None)
    one.connection_made(type("Wire", (), {"write": lambda _, data: written.append(data)})())
    one.send(Kind.HEALTH, 1)

    def both():
        one.send(Kind.ANSWER, 2, b"two")
        one.send(Kind.ANSWER, 3, b"three")
        assert len(written) == 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        one.together(both)
    one.send(Kind.ANSWER, 4)
    assert len(written) == 3
    assert [part.count(b"t") for part in written] == [0, 2, 0]


@given(st.integers(0, 255), st.floats(allow_nan=False), st.floats(allow_nan=False), st.binary(max_size=50))
def test_a_call_comes_out_as_it_went_in(method, since, deadline, data):
    call = (method, since, deadline, data)
    assert call_of(packed(call)) == call


def test_every_method_of_every_service_has_a_name_of_its_own():
    assert len(set(METHODS)) == len(METHODS) == sum(len(service.methods) for service in SERVICES) == 7


async def test_every_method_has_an_answer_of_its_own_type():
    async with serving(FakeRegistry(FakeRecommender())) as client:
        for service in SERVICES:
            for method in service.methods:
                call = client.channel.unary_unary(f"/{service.full_name}/{method.name}")(b"")
                if (code := (await call.code()).name) == "OK":
                    GetMessageClass(method.output_type).FromString(await call)
                else:  # what an empty request lacks
                    assert code in {"INVALID_ARGUMENT", "FAILED_PRECONDITION"}, method.name


async def test_a_request_of_the_largest_size_comes_through_and_a_larger_one_does_not():
    async with serving(FakeRegistry(FakeRecommender())) as client:
        request = pb.RecommendRequest(exclude_item_ids=["i" * 200] * 2_000)
        filling = "x" * (MAX_MESSAGE_BYTES - request.ByteSize() - 10)
        request.user_id = filling
        assert MAX_MESSAGE_BYTES - 10 < request.ByteSize() <= MAX_MESSAGE_BYTES
        assert (await refused_code(client, request)) == "INVALID_ARGUMENT"
        request.user_id += "x" * 20
        assert (await refused_code(client, request)) == "RESOURCE_EXHAUSTED"


async def test_a_hundred_calls_at_once_are_all_answered():
    users = [f"u{num}" for num in range(100)]
    async with serving(FakeRegistry(FakeRecommender(users=users))) as client:
        calls = [client.recommend(pb.RecommendRequest(user_id=user)) for user in users]
        assert [len((await call).items) for call in calls] == [20] * 100


async def test_of_many_calls_at_once_those_that_are_not_answered_are_told_when_to_try_again():
    users = [f"u{num}" for num in range(FEW_PENDING)]
    recommender = FakeRecommender(users=users)
    recommender.seconds = 0.02
    async with serving(FakeRegistry(recommender), settings(max_batch=4, deadline_seconds=30.0)) as client:
        await client.recommend(pb.RecommendRequest(user_id="u0"))
        calls = [asyncio.ensure_future(client.recommend(pb.RecommendRequest(user_id=user))) for user in users]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    refusals = [Details(error) for error in outcomes if isinstance(error, grpc.RpcError)]
    assert 0 < len(refusals) < len(users)
    assert {(each.code.name, each.retry_seconds) for each in refusals} == {("RESOURCE_EXHAUSTED", 1.0)}


async def test_of_more_calls_than_can_be_looked_at_some_are_cancelled_and_the_others_answered():
    async with serving(FakeRegistry(FakeRecommender())) as client, AsyncExitStack() as stack:
        own = [("grpc.use_local_subchannel_pool", 1)]  # so that each channel has a connection
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(client.app.address, own)) for _ in range(16)
        ]
        asks = [channel.unary_unary(PATHS[METHODS.index("Recommend")]) for channel in channels]
        assert all([await ask(b"") for ask in asks])
        front = client.app._front.pid
        os.kill(front, signal.SIGSTOP)
        calls = [ask(b"") for ask in asks * 90]
        await asyncio.sleep(0.5)
        os.kill(front, signal.SIGCONT)
        codes = [(await call.code()).name for call in calls]
    assert set(codes) <= {"OK", "CANCELLED", "RESOURCE_EXHAUSTED"}
    assert codes.count("OK") > 50
    assert codes.count("CANCELLED") > 300


async def test_health_is_told_while_many_ask_what_services_there_are_and_do_not_hang_up():
    async with serving(FakeRegistry(FakeRecommender())) as client:
        stub = reflection_pb2_grpc.ServerReflectionStub(client.channel)
        streams = [stub.ServerReflectionInfo() for _ in range(20)]
        for stream in streams:
            await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))
            assert (await stream.read()).list_services_response.service
        health = await health_pb2_grpc.HealthStub(client.channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        for stream in streams:
            stream.cancel()


async def refused_code(client, request):
    with pytest.raises(grpc.RpcError) as error:
        await client.recommend(request)
    return error.value.code().name


async def test_a_front_that_dies_is_replaced_at_the_same_address_and_tells_the_same_health(caplog):
    recommender = FakeRecommender()
    async with serving(FakeRegistry(recommender)) as client:
        victim = client.app._front.pid
        os.kill(victim, signal.SIGKILL)
        await until(lambda: client.app._front.pid not in {0, victim})
        answer = await client.recommend(pb.RecommendRequest(user_id="known"), wait_for_ready=True, timeout=5)
        assert answer.items
        health = await health_pb2_grpc.HealthStub(client.channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        assert "another one is started" in caplog.text


async def test_a_front_is_replaced_as_soon_as_the_system_allows_a_process(monkeypatch, caplog):
    monkeypatch.setattr(link, "MEND_SECONDS", 0.05)
    async with serving(FakeRegistry(FakeRecommender())) as client:
        start, refusals = asyncio.create_subprocess_exec, [OSError(11, "Resource temporarily unavailable")] * 2

        async def not_yet(*given, **named):
            if refusals:
                raise refusals.pop()
            return await start(*given, **named)

        monkeypatch.setattr(asyncio, "create_subprocess_exec", not_yet)
        os.kill(client.app._front.pid, signal.SIGKILL)
        await until(lambda: caplog.text.count("cannot be started: Resource temporarily unavailable") == 2)
        await until(lambda: client.app._front.pid > 0)
        await client.recommend(pb.RecommendRequest(user_id="known"), wait_for_ready=True)


async def test_a_front_that_fails_says_so_and_is_replaced(capfd):
    async with serving(FakeRegistry(FakeRecommender())) as client:
        failing = client.app._front.pid

        async def send_what_is_no_frame():
            client.app._front._frames.send(99, 0)

        await client.there(send_what_is_no_frame())
        await until(lambda: client.app._front.pid not in {0, failing})
        assert (await client.recommend(pb.RecommendRequest(), wait_for_ready=True, timeout=5)).items
    assert "has failed" in capfd.readouterr().err


async def test_what_a_front_that_died_had_asked_for_is_not_computed():
    users = [f"u{num}" for num in range(20)]
    recommender = FakeRecommender(users=users)
    recommender.seconds = 0.1
    options = settings(max_batch=1, deadline_seconds=30.0, shed_seconds=30.0)
    async with serving(FakeRegistry(recommender), options) as client:
        calls = [asyncio.ensure_future(client.recommend(pb.RecommendRequest(user_id=user))) for user in users]
        await until(lambda: len(recommender.batches) == 2)
        victim = client.app._front.pid
        os.kill(victim, signal.SIGKILL)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        await until(lambda: client.app._front.pid not in {0, victim})  # else it may find the old connection
        await client.recommend(pb.RecommendRequest(user_id="u0", slate_size=3), wait_for_ready=True, timeout=10)
        refusals = [error.code().name for error in outcomes if isinstance(error, grpc.RpcError)]
    assert set(refusals) == {"UNAVAILABLE"}
    assert len(refusals) >= 18
    assert len(recommender.batches) < 10


async def test_health_is_told_while_the_engine_computes():
    recommender = FakeRecommender()
    recommender.open.clear()
    async with serving(FakeRegistry(recommender)) as client:
        call = asyncio.ensure_future(client.recommend(pb.RecommendRequest(user_id="known")))
        await until(recommender.started.is_set)
        stub = health_pb2_grpc.HealthStub(client.channel)
        health = await stub.Check(health_pb2.HealthCheckRequest(), timeout=2)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        recommender.open.set()
        assert (await call).items


async def test_before_there_is_a_bundle_health_says_that_nothing_serves():
    async with serving(FakeRegistry()) as client:
        health = await health_pb2_grpc.HealthStub(client.channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert (await refused(client.recommend(pb.RecommendRequest()))).reason == "NO_BUNDLE"


async def test_while_the_first_bundle_is_loaded_health_is_told_already():
    registry, loading, go_on = FakeRegistry(FakeRecommender()), threading.Event(), threading.Event()

    async def load(path):
        loading.set()
        await asyncio.to_thread(go_on.wait, 10)
        return await registry.load(path)

    async def make():
        return App(settings(), registry, load)

    with loop_apart() as there:
        app = await there(make())
        starting = there(app.start())
        try:
            await until(lambda: app.address and loading.is_set())
            async with grpc.aio.insecure_channel(app.address) as channel:
                check = health_pb2_grpc.HealthStub(channel).Check
                health = [await check(health_pb2.HealthCheckRequest())]
                go_on.set()
                await starting
                health.append(await check(health_pb2.HealthCheckRequest()))
        finally:
            go_on.set()
            await there(app.drain())
    status = health_pb2.HealthCheckResponse
    assert [one.status for one in health] == [status.NOT_SERVING, status.SERVING]


async def test_a_front_that_hangs_does_not_keep_a_server_from_ending(monkeypatch):
    monkeypatch.setattr("recsys_server.front.link.END_SECONDS", 0.2)
    async with serving(FakeRegistry(FakeRecommender())) as client:
        front = client.app._front.pid
        os.kill(front, signal.SIGSTOP)
        async with asyncio.timeout(5):
            await client.there(client.app.drain())
        assert ended(front)


def test_all_of_a_front_goes_after_the_process_that_answers(published, tmp_path):
    with started(published, tmp_path) as server:
        (front,) = children(server.process.pid)
        threads = [int(task.name) for task in Path(f"/proc/{front}/task").iterdir()]
        own = os.getpriority(os.PRIO_PROCESS, server.process.pid)
        assert len(threads) > 2
        assert all(own < os.getpriority(os.PRIO_PROCESS, thread) < own + 10 for thread in threads)


def test_a_front_ends_with_its_server_and_not_by_signals_that_are_meant_for_it(published, tmp_path):
    with started(published, tmp_path) as server:
        (front,) = children(server.process.pid)
        for number in (signal.SIGINT, signal.SIGTERM):  # as a terminal and a supervisor send them to all processes
            os.kill(front, number)
        time.sleep(0.1)
        assert server.ask("u03")[0]["items"]
        assert children(server.process.pid) == [front]
        server.process.kill()
        end = time.monotonic() + 5
        while not ended(front) and time.monotonic() < end:
            time.sleep(0.02)
        assert ended(front)
