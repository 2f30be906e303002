"""Calls that are taken from gRPC's completion queue: real ones, by a real client."""

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from google.rpc import code_pb2, status_pb2
from grpc_status import rpc_status

from recsys_server.front.calls import Calls

ONE, TWO = "/shop.Shop/One", "/shop.Shop/Two"


class Shop:
    """Answers with what ``answers`` says, and keeps what it is told."""

    def __init__(self, answers):
        self.answers = answers
        self.came, self.gone, self.rests = [], [], []
        self.server = grpc.server(ThreadPoolExecutor(1))
        self.calls = Calls(
            self.server, [ONE, TWO], self._came, self.gone.append, lambda: self.rests.append(len(self.came))
        )
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()
        self.running = threading.Thread(target=self.calls.run)
        self.running.start()

    def _came(self, number, *call):
        self.came.append((number, *call))
        self.answers(self.calls, number, *call)


@contextmanager
def open_shop(answers):
    shop = Shop(answers)
    try:
        with grpc.insecure_channel(shop.address) as channel:
            yield shop, channel
    finally:
        shop.server.stop(0)
        shop.running.join(5)
        assert not shop.running.is_alive()


def answering(calls, number, method, _, __, data):
    calls.answer(number, b"%d %b" % (method, data))


def silent(*_):
    pass


def soon(condition):
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_every_call_gets_the_answer_to_its_own_method_and_request():
    with open_shop(answering) as (_, channel):
        calls = [
            (place, number, channel.unary_unary(path).future(b"%d" % number))
            for number in range(200)
            for place, path in enumerate((ONE, TWO))
        ]
        assert [call.result() for *_, call in calls] == [b"%d %d" % (place, number) for place, number, _ in calls]


def test_answers_may_come_from_another_thread_and_in_another_order():
    with open_shop(silent) as (shop, channel):
        calls = [channel.unary_unary(ONE).future(b"%d" % number) for number in range(50)]
        soon(lambda: len(shop.came) == 50)
        for number, _, _, _, data in reversed(shop.came):
            shop.calls.answer(number, data * 2)
        assert [call.result() for call in calls] == [b"%d" % number * 2 for number in range(50)]


def test_it_is_told_when_all_that_has_come_is_told():
    with open_shop(silent) as (shop, channel):
        calls = [channel.unary_unary(ONE).future(b"") for _ in range(50)]
        soon(lambda: len(shop.came) == 50 and shop.rests and shop.rests[-1] == 50)
        before = len(shop.rests)
        time.sleep(0.1)
        assert len(shop.rests) == before  # it is not told again and again
        for call in calls:
            call.cancel()


def test_requests_and_answers_may_be_empty_or_large():
    with open_shop(lambda calls, number, *call: calls.answer(number, call[-1])) as (_, channel):
        for data in (b"", bytes(300_000)):
            assert channel.unary_unary(ONE)(data) == data


def test_a_refusal_arrives_with_its_code_message_and_details():
    status = status_pb2.Status(code=code_pb2.FAILED_PRECONDITION, message="zu spät")
    status.details.add(type_url="any/thing", value=b"\x00\xff")
    refusing = open_shop(lambda calls, number, *_: calls.refuse(number, status.SerializeToString()))
    with refusing as (_, channel), pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(ONE)(b"")
    assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error.value.details() == "zu spät"
    assert rpc_status.from_call(error.value) == status


def test_a_call_tells_when_it_came_and_when_its_client_gives_up():
    with open_shop(answering) as (shop, channel):
        before = time.monotonic()
        channel.unary_unary(ONE)(b"", timeout=3)
        channel.unary_unary(ONE)(b"")
        (_, _, since, deadline, _), (_, _, _, never, _) = shop.came
        assert before <= since <= time.monotonic()
        assert deadline == pytest.approx(before + 3, abs=0.2)
        assert never == math.inf or never > before + 1e9


@pytest.mark.parametrize("way", ["cancelled", "late"])
def test_of_a_call_that_nobody_waits_for_any_more_its_number_is_told_once(way):
    with open_shop(silent) as (shop, channel):
        call = channel.unary_unary(ONE).future(b"", timeout=5 if way == "cancelled" else 0.2)
        soon(lambda: shop.came)
        if way == "cancelled":
            call.cancel()
        soon(lambda: shop.gone)
        shop.calls.answer(shop.came[0][0], b"too late")
        shop.calls.refuse(shop.came[0][0], b"")
        assert shop.gone == [shop.came[0][0]]
        assert not shop.calls._waiting


def test_of_a_call_that_was_answered_nothing_more_is_told():
    with open_shop(answering) as (shop, channel):
        for _ in range(20):
            channel.unary_unary(ONE)(b"")
        shop.calls.answer(shop.came[0][0], b"again")
        soon(lambda: shop.calls._inside == 0)
        assert not shop.gone


def test_a_call_without_a_request_is_refused_and_not_told():
    with open_shop(answering) as (shop, channel):
        with pytest.raises(grpc.RpcError, match="brought no request"):
            channel.stream_unary(ONE)(iter([]))
        assert not shop.came


def test_other_methods_are_the_servers_business():
    with open_shop(answering) as (shop, channel):
        with pytest.raises(grpc.RpcError) as error:
            channel.unary_unary("/shop.Shop/Three")(b"")
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert not shop.came


def test_a_server_that_stops_lets_the_last_call_be_answered_and_takes_no_other():
    with open_shop(silent) as (shop, channel):
        last = channel.unary_unary(ONE).future(b"")
        soon(lambda: shop.came)
        stopped = shop.server.stop(5)
        with grpc.insecure_channel(shop.address) as late:
            with pytest.raises(grpc.RpcError) as error:
                late.unary_unary(ONE)(b"", timeout=2)
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        assert shop.running.is_alive()
        shop.calls.answer(shop.came[0][0], b"answer")
        assert last.result() == b"answer"
        assert stopped.wait(5)


def test_a_server_that_stops_cancels_what_is_not_answered_in_time():
    with open_shop(silent) as (shop, channel):
        last = channel.unary_unary(ONE).future(b"")
        soon(lambda: shop.came)
        assert shop.server.stop(0.1).wait(5)
        assert last.code() in {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}
        soon(lambda: shop.gone)
