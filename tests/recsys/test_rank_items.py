"""The caller's own candidates in a user's order."""

from dataclasses import replace

import numpy as np
import pytest

from recsys.recommender import Recommender
from recsys.types import Answer, EventType, LiveEvent, Query, ServedFrom, ServingParameters


def ranked(recommender: Recommender, user_id: str, *items: str, **further: object) -> Answer:
    return recommender.rank_items([Query(user_id, 1, recommender.until, items, **further)], lambda: 0.0)


def ids(answer: Answer) -> list[str]:
    return [item.item_id for item in answer.slates[0].items]


def test_all_candidates_come_back_once_in_the_order_of_the_slate(recommender):
    everything = [f"i{num:02}" for num in np.random.default_rng(1).permutation(61)]
    for use_ranker in (True, False):
        parameters = ServingParameters(use_ranker=use_ranker, candidates=5000, candidates_per_source=25)
        query = Query("u00", 20, recommender.until, parameters=parameters)
        slate = recommender.answer([query], lambda: 0.0).slates[0].items
        got = ranked(recommender, "u00", *everything, "i05", *everything[:3], parameters=parameters)
        assert sorted(ids(got)) == sorted(everything)
        sources = {item.item_id: item.sources for item in slate}
        common = [item for item in got.slates[0].items if item.item_id in sources]
        assert [(item.item_id, item.sources) for item in common] == list(sources.items())
        assert (got.slates[0].served_from, got.slates[0].degraded, got.errors) == (ServedFrom.MODEL, (), ())


def test_unknown_candidates_come_last_in_the_order_given_without_sources(recommender):
    got = ranked(recommender, "u00", "y", "i03", "x", "i00", "y")
    assert sorted(ids(got)[:2]) == ["i00", "i03"]
    assert ids(got)[2:] == ["y", "x"]
    assert [item.sources for item in got.slates[0].items[2:]] == [(), ()]
    scores = [item.score for item in got.slates[0].items]
    assert scores == sorted(scores, reverse=True)
    assert ids(ranked(recommender, "u00", "y", "x")) == ["y", "x"]


@pytest.mark.parametrize("user_id", ["", "new", "u40"])
def test_for_who_nothing_is_known_of_the_popular_ones_come_first(recommender, user_id):
    got = ranked(recommender, user_id, "i60", "i02", "i01", "i00")
    popularity = recommender.model.popular.popularity
    assert ids(got) == sorted(ids(got), key=lambda item: -popularity[int(item[1:])])
    assert got.slates[0].served_from == ServedFrom.POPULAR_CACHE


def test_live_events_move_the_order(recommender):
    live = tuple(LiveEvent(item, EventType.ADD_TO_CART, recommender.until) for item in ("i06", "i10"))
    parameters = ServingParameters(use_ranker=False)
    got = ranked(recommender, "new", "i00", "i01", "i02", "i03", live_events=live, parameters=parameters)
    assert ids(got)[0] == "i02"
    assert got.slates[0].served_from == ServedFrom.MODEL


class Broken:
    name = "als"

    def scorer(self, *_):
        return self

    def score(self, _):
        raise ValueError("no trees")

    def propose(self, *_):
        raise OSError("disk gone")


def test_a_stage_that_fails_degrades_the_order_and_says_so(recommender):
    items = [f"i{num:02}" for num in range(12)]
    plain = ranked(recommender, "u00", *items, parameters=ServingParameters(use_ranker=False))
    unranked = ranked(Recommender(recommender.identity, replace(recommender.model, ranker=Broken())), "u00", *items)
    assert ids(unranked) == ids(plain)
    assert (unranked.slates[0].served_from, unranked.slates[0].degraded) == (ServedFrom.MODEL, ("ranker",))
    assert [str(error) for error in unranked.errors] == ["no trees"]

    snapshot = recommender.model.snapshot
    broken = replace(recommender.model, snapshot=replace(snapshot, sources=(Broken(), *snapshot.sources[1:])))
    popular = ranked(Recommender(recommender.identity, broken), "u00", *items)
    assert ids(popular) == ids(ranked(recommender, "", *items))
    assert (popular.slates[0].served_from, popular.slates[0].degraded) == (ServedFrom.FALLBACK, ("retrieval",))
    assert [str(error) for error in popular.errors] == ["disk gone"]
