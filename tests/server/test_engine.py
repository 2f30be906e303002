"""What the engine makes of queries that come while it computes: all that a test asks before it waits."""

import asyncio
import time

import pytest

from recsys.types import Query
from recsys_server.engine import Engine
from recsys_server.errors import DeadlineError, DrainingError, EngineError
from recsys_server.pace import Pace
from server_fakes import FakeRecommender

LATER = float("inf")


@pytest.fixture
def recommender():
    return FakeRecommender(users=[f"u{num}" for num in range(100)])


def engine(max_batch=64, max_waiting=1024, observed=None, shed_seconds=LATER):
    observe = (observed if observed is not None else []).append
    return Engine(max_batch, max_waiting, shed_seconds, observe, time.monotonic, lambda call: call())


def ask(engine, recommender, user_id, deadline=LATER):
    async def asked():
        return await engine.answer(recommender, Query(user_id, 3, 0), deadline)

    return asyncio.create_task(asked())


def users(recommender):
    return [[query.user_id for query in batch] for batch in recommender.batches]


async def test_what_waits_is_answered_as_one_batch_up_to_its_limit(recommender):
    running = engine(max_batch=4)
    answers = await asyncio.gather(*(ask(running, recommender, f"u{num}") for num in range(6)))
    assert users(recommender) == [["u0", "u1", "u2", "u3"], ["u4", "u5"]]
    assert [len(answer.slate.items) for answer in answers] == [3] * 6


async def test_what_is_answered_is_sent_before_the_next_batch_is_computed(recommender):
    async def told(user_id):
        await ask(running, recommender, user_id)
        seen.append(len(recommender.batches))

    running, seen = engine(max_batch=2), []
    await asyncio.gather(*(told(f"u{num}") for num in range(6)))
    assert seen == [1, 1, 2, 2, 3, 3]


async def test_a_query_that_fails_spoils_no_other_of_its_batch(recommender):
    recommender.poison = "u2"
    running = engine()
    tasks = [ask(running, recommender, f"u{num}") for num in range(1, 5)]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(outcome, EngineError) for outcome in outcomes] == [False, True, False, False]


async def test_queries_of_two_bundles_that_wait_together_are_answered_by_their_own(recommender):
    running, new = engine(), FakeRecommender("b2", n_items=10, users=["u1", "u2"])
    tasks = [ask(running, one, user) for one, user in ((recommender, "u1"), (new, "u1"), (new, "u2"))]
    answers = await asyncio.gather(*tasks)
    assert users(recommender) == [["u1"]]
    assert users(new) == [["u1", "u2"]]
    assert [answer.slate.items[0].item_id for answer in answers] == ["i599", "i9", "i9"]


async def test_slow_queries_are_answered_in_batches_that_hold_up_the_loop_for_less_long(recommender):
    recommender.seconds = 0.002
    running = engine()
    await asyncio.gather(*(ask(running, recommender, f"u{num}") for num in range(8)))
    await asyncio.gather(*(ask(running, recommender, f"u{num}") for num in range(64)))
    assert [len(batch) for batch in recommender.batches] == [8, 16, 16, 16, 16]


async def test_what_is_late_or_given_up_is_not_computed(recommender):
    recommender.seconds = 0.02
    running = engine(max_batch=1)
    tasks = [
        ask(running, recommender, "u0"),
        ask(running, recommender, "u1", deadline=time.monotonic() + 0.01),
        ask(running, recommender, "u2"),
        ask(running, recommender, "u3"),
    ]
    await asyncio.sleep(0)
    tasks[2].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[1], DeadlineError)
    assert users(recommender) == [["u0"], ["u3"]]


async def test_closing_refuses_what_waits_and_what_comes(recommender):
    running = engine(max_batch=1)
    first, second = ask(running, recommender, "u0"), ask(running, recommender, "u1")
    assert (await first).slate.items
    running.close()
    for refused in (second, ask(running, recommender, "u2")):
        with pytest.raises(DrainingError):
            await refused
    assert users(recommender) == [["u0"]]


async def test_after_a_defect_of_its_own_the_engine_goes_on_with_what_waits(recommender):
    class Broken(Pace):
        def learn(self, *_):
            raise ZeroDivisionError

    running = engine(max_batch=1)
    tasks = [ask(running, recommender, f"u{num}") for num in range(2)]
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    running._turns = Broken()
    answers = await asyncio.gather(*tasks)
    assert [len(answer.slate.items) for answer in answers] == [3, 3]


async def test_the_stages_of_each_batch_are_observed_with_the_wait_for_it(recommender):
    observed = []
    recommender.seconds = 0.1
    running = engine(observed=observed, max_batch=1)
    await asyncio.gather(ask(running, recommender, "u0"), ask(running, recommender, "u1"))
    assert [{stage for stage, _ in stages} for stages in observed] == [{"wait", "retrieve"}] * 2
    assert dict(observed[0])["retrieve"] >= 0.1
    assert dict(observed[1])["wait"] >= 0.1


async def test_a_failure_is_logged_once_a_minute_not_once_a_query(recommender, caplog):
    recommender.poison = "u1"
    running = engine()
    for _ in range(5):
        with pytest.raises(EngineError):
            await ask(running, recommender, "u1")
    assert caplog.text.count("failed at a query") == 1
