"""One compiled call gives what the stages one by one give, for all queries that it answers."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import worlds
from recsys import answer_kernels
from recsys.interactions import UNREAD
from recsys.item_blocks import ItemBlocks
from recsys.item_index import IndexChoice, ItemIndex
from recsys.recommender import Recommender
from recsys.rules import AnyOf, Boost, Rules
from recsys.slate import Slots
from recsys.types import SECONDS_PER_DAY, Answer, EventType, ExcludePolicy, LiveEvent, Query, ServingParameters, Slate

NOW = worlds.START + 61 * SECONDS_PER_DAY
USERS = ["u00", "u05", "u12", "u33", "u40", "never seen", ""]  # u40 is known and never did anything
PARAMETERS = [
    *(ServingParameters(policy, candidates_per_source=k) for policy in ExcludePolicy for k in (3, 20)),
    ServingParameters(fill=False, candidates_per_source=2, candidates=4),
    ServingParameters(use_ranker=False),
    ServingParameters(sources=("als",)),
]
RULES = [Rules(), Rules(AnyOf("brand", ("b1",))), Rules(boosts=(Boost("more", AnyOf("brand", ("b2",)), 3.0),))]


def in_blocks(plain: Recommender) -> Recommender:
    """The same, but its items are searched in blocks, as those of a large shop are: nothing is asked of FAISS then."""
    als, *others = plain.model.snapshot.sources
    index = ItemIndex(IndexChoice("Flat", 0, 1.0, searched=1), als.item_factors, ItemBlocks.of(als.item_factors))
    stored = replace(als, index=index, user_factors=als.user_factors.astype(np.float16))
    snapshot = replace(plain.model.snapshot, sources=(stored, *others))
    slots = (Slots(len(others), (0.3, 0.1)),)
    return Recommender(plain.identity, replace(plain.model, snapshot=snapshot, slots=slots))


@pytest.fixture(scope="module")
def shops(recommender) -> list[Recommender]:
    found = worlds.branded(recommender)
    return [found, in_blocks(found)]


def by_stages(recommender: Recommender, queries: Sequence[Query]) -> Answer:
    return recommender._grouped(queries, lambda: 0.0, partial(recommender._by_stages, rank=recommender.rank))


def told(answer: Answer) -> list[str]:
    """All that slates say: values of features may be NaN, which is not itself."""
    return [repr((*slate.items, *slate[1:])) for slate in answer.slates]


def at_once(recommender: Recommender, *queries: Query) -> list[Slate | None]:
    """What the one call makes of queries that are served alike."""
    return recommender._one_call.slates(queries, recommender.batch, _Stopwatch())


class _Stopwatch:
    def lap(self, stage: str) -> None:
        pass

    def laps(self, stages: Sequence[str], parts: Sequence[float]) -> None:
        assert len(stages) == len(parts)
        assert all(part >= 0 for part in parts)


@st.composite
def asked(draw: st.DrawFn) -> Query:
    items = st.lists(st.sampled_from(["i03", "i17", "i44", "no such item"]), max_size=2).map(tuple)
    clicked = draw(st.lists(st.sampled_from(["i06", "i21"]), max_size=2))
    return Query(
        draw(st.sampled_from(USERS)),
        draw(st.sampled_from([1, 5, 20, 59])),
        NOW,
        draw(items),
        draw(items),
        draw(st.sampled_from(PARAMETERS)),
        tuple(LiveEvent(item, EventType.VIEW_ITEM, NOW - 60 * place) for place, item in enumerate(clicked, start=1)),
        draw(st.sampled_from(RULES)),
        explain=draw(st.booleans()) and draw(st.booleans()),
        seed=draw(st.sampled_from([0, 7])),
    )


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_slates_are_those_of_the_stages(shops, data):
    recommender = data.draw(st.sampled_from(shops))
    queries = data.draw(st.lists(asked(), min_size=1, max_size=6))
    answer = recommender.answer(queries, lambda: 0.0)
    assert not answer.errors
    assert told(answer) == told(by_stages(recommender, queries))


@pytest.mark.parametrize("place", [0, 1])
def test_plain_queries_are_answered_in_one_call_and_others_are_not(shops, place):
    recommender = shops[place]
    plain = Query("u00", 10, NOW)
    assert at_once(recommender, plain, plain._replace(user_id="u05")) == [
        *by_stages(recommender, [plain, plain._replace(user_id="u05")]).slates
    ]
    clicked = (LiveEvent("i06", EventType.VIEW_ITEM, NOW - 60),)
    for change in ({"live_events": clicked}, {"exclude_item_ids": ("i03",)}, {"user_id": "never seen"}):
        assert at_once(recommender, plain._replace(**change)) != [None]
    few = ServingParameters(candidates_per_source=2, candidates=4)
    short = ServingParameters(candidates_per_source=2)
    nothing = Rules(AnyOf("brand", ("no such brand",)))
    for change in ({"slate_size": 61, "parameters": few}, {"slate_size": 400}, {"rules": nothing}):
        with pytest.MonkeyPatch.context() as patch:  # what popular items must fill up anyway is not computed twice
            patch.setattr(answer_kernels, "answered", None)
            assert at_once(recommender, plain._replace(**change)) == [None]
    assert at_once(recommender, plain._replace(slate_size=59, parameters=short)) == [None]
    for change in ({"explain": True}, {"trace": True}, {"rules": RULES[2]}, {"slate_size": 59, "parameters": few}):
        assert at_once(recommender, plain._replace(**change)) == [None]


def test_only_the_histories_that_nothing_else_needs_are_left_unread(shops):
    exact, blocks = shops
    plain = Query("u00", 10, NOW)
    purchased = ServingParameters(ExcludePolicy.PURCHASED)
    assert blocks.batch([plain], unread=True).history is UNREAD
    assert len(blocks.batch([plain]).history) == 1
    assert len(exact.batch([plain], unread=True).history) == 1
    for change in ({"parameters": purchased}, {"seed_item_ids": ("i03",)}, {"exclude_item_ids": ("i03",)}):
        assert len(blocks.batch([plain._replace(**change)], unread=True).history) == 1


def test_where_the_call_fails_the_stages_answer_and_it_is_told(shops, monkeypatch):
    def broken(*_: object) -> None:
        raise ValueError("no trees")

    queries = [Query("u00", 10, NOW), Query("u05", 10, NOW)]
    expected = by_stages(shops[1], queries)
    monkeypatch.setattr(answer_kernels, "answered", broken)
    answer = shops[1].answer(queries, lambda: 0.0)
    assert answer.slates == expected.slates
    assert [str(error) for error in answer.errors] == ["no trees"]


def test_the_time_of_a_batch_is_that_of_its_stages(shops):
    times = iter(np.arange(0.0, 100.0, 0.5).tolist())
    seconds = shops[1].answer([Query("u00", 10, NOW)], lambda: next(times)).stage_seconds
    assert set(seconds) == {"look_up", "retrieve", "rank", "slate", "encode"}
    assert all(own > 0 for own in seconds.values())
    assert sum(seconds.values()) == pytest.approx(next(times) - 0.5)
