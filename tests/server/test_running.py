"""Coroutines without a task: when they go on, and how they end."""

import asyncio

from recsys_server.running import PromptFuture, Running
from server_fakes import until


def prompt():
    return PromptFuture(asyncio.get_running_loop())


def run(coroutine):
    outcomes = []
    return Running(coroutine, outcomes.append), outcomes


async def total(*futures):
    return sum([await future for future in futures])


async def test_what_need_not_wait_has_ended_when_it_has_begun():
    running, outcomes = run(total())
    assert (running.waits, outcomes) == (False, [0])


async def test_it_goes_on_before_whoever_brings_the_result_does():
    one, other = prompt(), prompt()
    running, outcomes = run(total(one, other))
    one.set_result(1)
    assert (running.waits, outcomes) == (True, [])
    other.set_result(2)
    assert (running.waits, outcomes) == (False, [3])


async def test_an_error_ends_it_be_it_what_it_waited_for_or_its_own():
    future, error = prompt(), ValueError("no")
    _, outcomes = run(total(future))
    future.set_exception(error)
    assert outcomes == [error]
    _, outcomes = run(total(None))
    assert [type(outcome) for outcome in outcomes] == [TypeError]


async def test_whoever_brings_the_result_of_one_that_cannot_be_ended_goes_on_and_the_error_is_told():
    told, future = [], prompt()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    Running(total(future), lambda _: told.remove(9))
    future.set_result(1)
    assert [type(error) for error in told] == [ValueError]


async def test_to_cancel_it_cancels_what_it_waits_for():
    for future in (prompt(), asyncio.get_running_loop().create_future()):
        running, outcomes = run(total(future))
        running.cancel()
        assert future.cancelled()
        await until(lambda outcomes=outcomes: outcomes)
        assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError]
        assert not running.waits
        running.cancel()


async def test_it_also_waits_for_what_tells_a_turn_later():
    future = asyncio.get_running_loop().create_future()
    _, outcomes = run(total(asyncio.sleep(0.001, 1), asyncio.shield(future), prompt_of(4)))
    future.set_result(2)
    await until(lambda: outcomes)
    assert outcomes == [7]


async def test_two_may_wait_for_one_future():
    future = asyncio.get_running_loop().create_future()
    waiting = [run(total(future))[1] for _ in range(2)]
    future.set_result(2)
    await until(lambda: all(waiting))
    assert waiting == [[2], [2]]


async def prompt_of(result):
    future = prompt()
    future.set_result(result)
    return await future


async def test_a_task_may_wait_for_a_prompt_future_and_be_cancelled_by_another_one():
    future, other = prompt(), prompt()
    task, given_up = asyncio.create_task(total(future)), asyncio.create_task(total(other))
    await asyncio.sleep(0)
    future.set_result(5)
    given_up.cancel()
    assert (await asyncio.gather(task, given_up, return_exceptions=True))[0] == 5
    assert given_up.cancelled()
