"""The engine's thread, around a recommender that the test holds up."""

import asyncio
import time

import pytest

from recsys.types import Query
from recsys_server.engine import Engine
from recsys_server.errors import DeadlineError, DrainingError, EngineError
from server_fakes import FakeRecommender, until

LATER = float("inf")


@pytest.fixture
def recommender():
    return FakeRecommender(users=[f"u{num}" for num in range(100)])


def engine(max_batch=64, max_waiting=1024, observed=None, shed_seconds=LATER):
    observe = (observed if observed is not None else []).append
    return Engine(max_batch, max_waiting, shed_seconds, observe, time.monotonic)


def ask(engine, recommender, user_id, deadline=LATER):
    return asyncio.create_task(engine.answer(recommender, Query(user_id, 3, 0), deadline))


async def held_up(engine, recommender):
    """An engine that computes its first query until the recommender opens."""
    recommender.open.clear()
    first = ask(engine, recommender, "u0")
    await until(recommender.started.is_set)
    return first


def users(recommender):
    return [[query.user_id for query in batch] for batch in recommender.batches]


async def test_what_waits_is_answered_as_one_batch_up_to_its_limit(recommender):
    running = engine(max_batch=4)
    tasks = [await held_up(running, recommender)]
    tasks += [ask(running, recommender, f"u{num}") for num in range(1, 7)]
    await asyncio.sleep(0)
    recommender.open.set()
    answers = await asyncio.gather(*tasks)
    await running.close()
    assert users(recommender) == [["u0"], ["u1", "u2", "u3", "u4"], ["u5", "u6"]]
    assert [len(answer.slate.items) for answer in answers] == [3] * 7


async def test_a_query_that_fails_spoils_no_other_of_its_batch(recommender):
    recommender.poison = "u2"
    running = engine()
    tasks = [await held_up(running, recommender)] + [ask(running, recommender, f"u{num}") for num in range(1, 5)]
    await asyncio.sleep(0)
    recommender.open.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    await running.close()
    assert [isinstance(outcome, EngineError) for outcome in outcomes] == [False, False, True, False, False]


async def test_queries_of_two_bundles_that_wait_together_are_answered_by_their_own(recommender):
    running, new = engine(), FakeRecommender("b2", n_items=10, users=["u1", "u2"])
    tasks = [await held_up(running, recommender)]
    tasks += [ask(running, one, user) for one, user in ((recommender, "u1"), (new, "u1"), (new, "u2"))]
    await asyncio.sleep(0)
    recommender.open.set()
    answers = await asyncio.gather(*tasks)
    await running.close()
    assert users(recommender) == [["u0"], ["u1"]]
    assert users(new) == [["u1", "u2"]]
    assert [answer.slate.items[0].item_id for answer in answers] == ["i599", "i599", "i9", "i9"]


async def test_what_is_late_or_given_up_is_not_computed(recommender):
    running = engine()
    tasks = [
        await held_up(running, recommender),
        ask(running, recommender, "u1", deadline=time.monotonic() - 1),
        ask(running, recommender, "u2"),
        ask(running, recommender, "u3"),
    ]
    await asyncio.sleep(0)
    tasks[2].cancel()
    recommender.open.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    await running.close()
    assert isinstance(outcomes[1], DeadlineError)
    assert users(recommender) == [["u0"], ["u3"]]


async def test_closing_finishes_what_is_computed_and_refuses_the_rest(recommender):
    running = engine()
    first = await held_up(running, recommender)
    waiting = ask(running, recommender, "u1")
    await asyncio.sleep(0)
    closing = asyncio.create_task(running.close())
    with pytest.raises(DrainingError):
        await waiting
    with pytest.raises(DrainingError):
        await ask(running, recommender, "u2")
    recommender.open.set()
    await closing
    assert len((await first).slate.items) == 3


async def test_the_stages_of_each_batch_are_observed_with_the_wait_for_it(recommender):
    observed = []
    running = engine(observed=observed)
    first = await held_up(running, recommender)
    second = ask(running, recommender, "u1")
    await asyncio.sleep(0.1)
    recommender.open.set()
    await asyncio.gather(first, second)
    await running.close()
    assert [{stage for stage, _ in stages} for stages in observed] == [{"wait", "retrieve"}] * 2
    assert dict(observed[0])["retrieve"] >= 0.1
    assert dict(observed[1])["wait"] >= 0.1


async def test_a_failure_is_logged_once_a_minute_not_once_a_query(recommender, caplog):
    recommender.poison = "u1"
    running = engine()
    for _ in range(5):
        with pytest.raises(EngineError):
            await ask(running, recommender, "u1")
    await running.close()
    assert caplog.text.count("failed at a query") == 1
