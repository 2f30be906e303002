"""SimilarItems and RankItems, over a real connection."""

import asyncio

import pytest

import worlds
from recsys.rules import AnyOf, Rules
from recsys.v1 import recommendation_service_pb2 as pb
from recsys.v1 import rules_pb2
from server_fakes import FakeRecommender, FakeRegistry, refused, serving, settings


def item_ids(response) -> list[str]:
    return [item.item_id for item in response.items]


async def test_similar_items_come_without_the_items_and_exclusions_and_say_where_they_come_from():
    recommender = FakeRecommender(n_items=30)
    async with serving(FakeRegistry(recommender)) as client:
        response = await client.similar_items(
            pb.SimilarItemsRequest(item_ids=["i29", "x" * 300], slate_size=3, exclude_item_ids=["i27"])
        )
        unknown = await client.similar_items(pb.SimilarItemsRequest(item_ids=["nothing"], slate_size=1))
        assert client.metric("recsys_requests_total", method="SimilarItems", code="OK") == 2
    assert item_ids(response) == ["i28", "i26", "i25"]
    assert [item.rank for item in response.items] == [1, 2, 3]
    assert (response.bundle_id, response.served_from) == ("b1", pb.SERVED_FROM_MODEL)
    assert [timing.stage for timing in response.stage_timings] == ["wait", "retrieve"]
    assert response.recommendation_id != unknown.recommendation_id
    assert (item_ids(unknown), unknown.served_from) == (["i0"], pb.SERVED_FROM_POPULAR_CACHE)


@pytest.mark.parametrize(("asked", "given"), [(0, 7), (1, 1), (501, 500)])
async def test_similar_items_have_the_size_of_the_default_placement_unless_asked_for(asked, given):
    options = settings({"placements": {"default": {"slate_size": 7}}})
    async with serving(FakeRegistry(FakeRecommender()), options) as client:
        response = await client.similar_items(pb.SimilarItemsRequest(item_ids=["i1"], slate_size=asked))
    assert len(response.items) == given


async def test_the_filter_of_similar_items_is_a_condition():
    recommender = FakeRecommender()
    brand = rules_pb2.Condition(any_of=rules_pb2.AnyOf(attribute="brand", values=["b"]))
    async with serving(FakeRegistry(recommender)) as client:
        await client.similar_items(pb.SimilarItemsRequest(item_ids=["i1"], filter=brand))
    assert recommender.batches[-1][0].rules == Rules(AnyOf("brand", ("b",)))


async def test_every_violation_of_similar_items_is_listed_at_once():
    request = pb.SimilarItemsRequest(slate_size=-1, filter=rules_pb2.Condition(), exclude_item_ids=["i"] * 5_001)
    async with serving(FakeRegistry(FakeRecommender())) as client:
        none = await refused(client.similar_items(request))
        many = await refused(client.similar_items(pb.SimilarItemsRequest(item_ids=["i"] * 101)))
    assert none.code.name == "INVALID_ARGUMENT"
    assert set(none.violations) == {"item_ids", "slate_size", "filter", "exclude_item_ids"}
    assert many.violations == {"item_ids": "must have at most 100 entries, not 101"}


async def test_candidates_come_back_in_the_users_order_each_once_and_unknown_ones_last():
    async with serving(FakeRegistry(FakeRecommender())) as client:
        request = pb.RankItemsRequest(user_id="known", item_ids=["y", "i1", "i3", "i1", "x" * 2_000, "i2"])
        response = await client.rank_items(request)
        anonymous = await client.rank_items(pb.RankItemsRequest(item_ids=["i3", "i1"]))
        assert client.metric("recsys_requests_total", method="RankItems", code="OK") == 2
    assert item_ids(response) == ["i3", "i2", "i1", "y", "x" * 2_000]
    assert [list(item.sources) for item in response.items[3:]] == [[], []]
    assert (response.bundle_id, response.served_from) == ("b1", pb.SERVED_FROM_MODEL)
    assert (item_ids(anonymous), anonymous.served_from) == (["i1", "i3"], pb.SERVED_FROM_POPULAR_CACHE)


async def test_every_violation_of_rank_items_is_listed_at_once():
    async with serving(FakeRegistry(FakeRecommender())) as client:
        none = await refused(client.rank_items(pb.RankItemsRequest(user_id="u" * 257)))
        many = await refused(client.rank_items(pb.RankItemsRequest(item_ids=["i"] * 1_001)))
    assert set(none.violations) == {"user_id", "item_ids"}
    assert many.violations == {"item_ids": "must have at most 1000 entries, not 1001"}


async def test_methods_that_wait_together_are_answered_each_by_its_own():
    recommender = FakeRecommender(n_items=30)
    recommender.open.clear()
    async with serving(FakeRegistry(recommender)) as client:
        first = asyncio.ensure_future(client.recommend(pb.RecommendRequest(user_id="known", slate_size=1)))
        await asyncio.to_thread(recommender.started.wait, 5)
        waiting = [
            *(client.similar_items(pb.SimilarItemsRequest(item_ids=["i29"], slate_size=1)) for _ in range(3)),
            *(client.rank_items(pb.RankItemsRequest(item_ids=["i5", "i4"])) for _ in range(3)),
        ]
        together = asyncio.gather(*waiting)
        await asyncio.sleep(0.1)
        recommender.open.set()
        responses = await together
        await first
    assert [item_ids(response) for response in responses] == [["i28"]] * 3 + [["i4", "i5"]] * 3
    assert sorted(map(len, recommender.batches)) == [1, 3, 3]


class Real:
    """A recommender of a small shop where the fake one stands otherwise."""

    def __init__(self) -> None:
        self._recommender = worlds.recommender(worlds.world(), bundle_id="b1")
        self.open = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._recommender, name)


async def test_a_real_recommender_answers_both_methods_and_explains():
    async with serving(FakeRegistry(Real())) as client:
        similar = await client.similar_items(pb.SimilarItemsRequest(item_ids=["i00"], slate_size=5))
        ranked = await client.rank_items(pb.RankItemsRequest(user_id="u02", item_ids=["i01", "i02", "no", "i03"]))
        explained = await client.recommend(pb.RecommendRequest(user_id="u02", slate_size=3, explain=True))
    assert sum(int(item[1:]) % 4 == 0 for item in item_ids(similar)) >= 4
    assert item_ids(ranked)[0] == "i02"
    assert item_ids(ranked)[-1] == "no"
    for item in explained.items:
        parts = [reason.feature.contribution for reason in item.reasons if reason.HasField("feature")]
        assert sum(parts) == pytest.approx(item.score, abs=1e-3)
        assert any(reason.history.item_id for reason in item.reasons)
