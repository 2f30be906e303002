"""Recommend, over a real connection."""

import asyncio

import grpc
import pytest

from recsys.v1 import recommendation_service_pb2 as pb
from recsys.v1 import rules_pb2
from server_fakes import Details, FakeRecommender, FakeRegistry, refused, serving, settings, until


def item_ids(response: pb.RecommendResponse) -> list[str]:
    return [item.item_id for item in response.items]


async def test_a_known_user_gets_a_slate_of_the_model():
    async with serving(FakeRegistry(FakeRecommender(n_items=30))) as client:
        response = await client.recommend(pb.RecommendRequest(user_id="known", slate_size=3))
    assert item_ids(response) == ["i29", "i28", "i27"]
    assert [item.rank for item in response.items] == [1, 2, 3]
    assert [item.score for item in response.items] == pytest.approx([1, 1 / 2, 1 / 3])
    assert list(response.items[0].sources) == ["als"]
    assert (response.bundle_id, response.served_from) == ("b1", pb.SERVED_FROM_MODEL)
    assert [timing.stage for timing in response.stage_timings] == ["wait", "retrieve"]
    assert not response.degraded


@pytest.mark.parametrize("user_id", ["", "stranger"])
async def test_who_is_not_known_gets_the_popular_slate(user_id):
    async with serving(FakeRegistry(FakeRecommender())) as client:
        response = await client.recommend(pb.RecommendRequest(user_id=user_id, slate_size=2))
    assert item_ids(response) == ["i0", "i1"]
    assert response.served_from == pb.SERVED_FROM_POPULAR_CACHE


async def test_a_seed_item_makes_an_anonymous_slate_personal_and_an_unknown_one_does_not():
    async with serving(FakeRegistry(FakeRecommender(n_items=30))) as client:
        seeded = await client.recommend(pb.RecommendRequest(seed_item_ids=["i29"], slate_size=1))
        unknown = await client.recommend(pb.RecommendRequest(seed_item_ids=["nothing"], slate_size=1))
    assert (item_ids(seeded), seeded.served_from) == (["i28"], pb.SERVED_FROM_MODEL)
    assert (item_ids(unknown), unknown.served_from) == (["i0"], pb.SERVED_FROM_POPULAR_CACHE)


@pytest.mark.parametrize(("asked", "given"), [(0, 20), (1, 1), (500, 500), (501, 500), (2**31 - 1, 500)])
@pytest.mark.parametrize("user_id", ["known", "stranger"])
async def test_a_slate_has_the_size_asked_for_up_to_500(user_id, asked, given):
    async with serving(FakeRegistry(FakeRecommender())) as client:
        response = await client.recommend(pb.RecommendRequest(user_id=user_id, slate_size=asked))
    assert len(response.items) == given


async def test_a_placement_has_its_own_size_and_policy_and_an_unknown_one_the_defaults():
    placements = {
        "default": {"slate_size": 7, "exclude_policy": "seen"},
        "basket": {"slate_size": 3, "exclude_policy": "none"},
    }
    recommender = FakeRecommender()
    async with serving(FakeRegistry(recommender), settings({"placements": placements})) as client:
        basket = await client.recommend(pb.RecommendRequest(user_id="known", placement="basket"))
        other = await client.recommend(pb.RecommendRequest(user_id="known", placement="nowhere"))
    assert (len(basket.items), len(other.items)) == (3, 7)
    assert [batch[0].parameters.exclude_policy for batch in recommender.batches] == ["none", "seen"]


async def test_the_requests_exclude_policy_wins_over_the_placements():
    recommender = FakeRecommender()
    options = settings({"placements": {"default": {"exclude_policy": "purchased"}}})
    async with serving(FakeRegistry(recommender), options) as client:
        await client.recommend(pb.RecommendRequest(user_id="known", exclude_policy=pb.EXCLUDE_POLICY_SEEN))
        await client.recommend(pb.RecommendRequest(user_id="known"))
    assert [batch[0].parameters.exclude_policy for batch in recommender.batches] == ["seen", "purchased"]


@pytest.mark.parametrize("user_id", ["known", "stranger"])
async def test_excluded_items_are_out_and_the_slate_is_still_full(user_id):
    out = [f"i{num}" for num in range(500)]
    async with serving(FakeRegistry(FakeRecommender(n_items=600))) as client:
        response = await client.recommend(pb.RecommendRequest(user_id=user_id, slate_size=100, exclude_item_ids=out))
    assert set(item_ids(response)) == {f"i{num}" for num in range(500, 600)}


async def test_exclusions_that_eat_up_the_popular_cache_are_computed():
    out = [f"i{num}" for num in range(1_500)]
    async with serving(FakeRegistry(FakeRecommender(n_items=2_000))) as client:
        response = await client.recommend(pb.RecommendRequest(slate_size=10, exclude_item_ids=out))
    assert item_ids(response) == [f"i{num}" for num in range(1_500, 1_510)]
    assert response.served_from == pb.SERVED_FROM_POPULAR_CACHE


async def test_without_memory_for_popular_slates_each_is_computed_for_who_asks():
    recommender = FakeRecommender()
    async with serving(FakeRegistry(recommender), settings({"cache": {"popular_mib": 0}})) as client:
        asked = [pb.RecommendRequest(user_id=f"stranger {num}", slate_size=7) for num in range(3)]
        answers = await asyncio.gather(*map(client.recommend, asked))
    assert {len(answer.items) for answer in answers} == {7}
    assert {answer.served_from for answer in answers} == {pb.SERVED_FROM_POPULAR_CACHE}
    computed = [query for batch in recommender.batches for query in batch]
    assert sorted(query.user_id for query in computed) == ["stranger 0", "stranger 1", "stranger 2"]
    assert {query.slate_size for query in computed} == {7}


async def test_a_small_catalogue_gives_all_it_has():
    async with serving(FakeRegistry(FakeRecommender(n_items=5))) as client:
        response = await client.recommend(pb.RecommendRequest(exclude_item_ids=["i0"]))
    assert item_ids(response) == ["i1", "i2", "i3", "i4"]


async def test_every_answer_has_its_own_recommendation_id():
    async with serving(FakeRegistry(FakeRecommender())) as client:
        ids = {
            (await client.recommend(pb.RecommendRequest(user_id=user))).recommendation_id for user in ("known", "") * 3
        }
    assert len(ids) == 6
    assert "" not in ids


async def test_every_violation_of_a_request_is_listed_at_once():
    request = pb.RecommendRequest(
        user_id="ü" * 129,
        slate_size=-1,
        placement="p" * 65,
        seed_item_ids=["i"] * 101,
        exclude_item_ids=["i"] * 5_001,
        exclude_policy=99,
        variant_overrides=[pb.ExperimentVariant(experiment="none", variant="x")] * 17,
    )
    async with serving(FakeRegistry(FakeRecommender())) as client:
        details = await refused(client.recommend(request))
    assert (details.code.name, details.reason, details.domain) == ("INVALID_ARGUMENT", "INVALID_REQUEST", "recsys.v1")
    assert set(details.violations) == {
        "user_id",
        "slate_size",
        "placement",
        "seed_item_ids",
        "exclude_item_ids",
        "exclude_policy",
        "variant_overrides",
        *(f"variant_overrides[{index}]" for index in range(16)),
    }
    assert "at most 256 bytes, not 258" in details.violations["user_id"]


async def test_the_list_of_violations_reaches_the_client_however_long_the_names():
    wrong = pb.ExperimentVariant(experiment="\U0001f600" * 64, variant="\U0001f600" * 64)
    request = pb.RecommendRequest(variant_overrides=[wrong] * 16, slate_size=-1)
    async with serving(FakeRegistry(FakeRecommender())) as client:
        details = await refused(client.recommend(request))
    assert len(details.violations) == 17


async def test_of_violations_with_long_paths_as_many_are_told_as_reach_every_client():
    condition = rules_pb2.Condition(all_of=rules_pb2.Conditions(conditions=[unnamed()] * 10))
    for _ in range(6):
        condition = rules_pb2.Condition(all_of=rules_pb2.Conditions(conditions=[condition]))
    async with serving(FakeRegistry(FakeRecommender())) as client:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await client.recommend(pb.RecommendRequest(filter=condition))
    details = Details(refusal.value)
    assert (details.code.name, details.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert 1 < len(details.violations) < 20
    assert details.message.endswith(f" and {20 - len(details.violations)} more")
    trailers = sum(len(name) + len(value) for name, value in refusal.value.trailing_metadata())
    assert trailers * 4 / 3 + len(details.message) < 8_600


def unnamed():
    return rules_pb2.Condition(any_of=rules_pb2.AnyOf())


async def test_the_limits_themselves_are_allowed():
    request = pb.RecommendRequest(
        user_id="u" * 256,
        placement="p" * 64,
        seed_item_ids=["i1"] * 100,
        exclude_item_ids=["i2"] * 5_000,
        slate_size=500,
    )
    async with serving(FakeRegistry(FakeRecommender())) as client:
        assert (await client.recommend(request)).items


async def test_an_item_id_that_no_item_can_have_is_ignored():
    recommender = FakeRecommender()
    odd = ["", "x" * 900_000, "nul\0", "i0"]
    async with serving(FakeRegistry(recommender)) as client:
        await client.recommend(pb.RecommendRequest(user_id="known", exclude_item_ids=odd))
    assert recommender.batches[0][0].exclude_item_ids == ("i0",)


async def test_bytes_that_are_no_message_are_refused():
    async with serving(FakeRegistry(FakeRecommender())) as client:
        for data in (b"\xff\xff\xff", b"\x0a\x05ab", b"\x0a\x02\xc3\x28", b"no message at all"):
            details = await refused(client.send(data))
            assert (details.code.name, details.reason) == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")


async def test_a_message_above_1_mib_is_refused_by_the_transport():
    request = pb.RecommendRequest(exclude_item_ids=["x" * 1000] * 2_000)
    async with serving(FakeRegistry(FakeRecommender())) as client:
        with pytest.raises(Exception, match="RESOURCE_EXHAUSTED"):
            await client.recommend(request)
        assert (await client.recommend(pb.RecommendRequest())).items


async def test_the_answer_to_empty_bytes_is_the_popular_slate():
    async with serving(FakeRegistry(FakeRecommender())) as client:
        assert len(pb.RecommendResponse.FromString(await client.send(b"")).items) == 20


async def test_without_a_bundle_the_client_is_told_to_try_later():
    async with serving(FakeRegistry()) as client:
        details = await refused(client.recommend(pb.RecommendRequest(user_id="known")))
    assert (details.code.name, details.reason) == ("UNAVAILABLE", "NO_BUNDLE")
    assert details.retry_seconds > 0


async def test_when_the_model_fails_the_popular_slate_stands_in_and_the_next_request_is_served():
    recommender = FakeRecommender(users=("known", "poison"))
    recommender.poison = "poison"
    async with serving(FakeRegistry(recommender)) as client:
        failed = await client.recommend(pb.RecommendRequest(user_id="poison", slate_size=2, exclude_item_ids=["i0"]))
        again = await client.recommend(pb.RecommendRequest(user_id="known", slate_size=2))
        assert client.metric("recsys_degraded_total", reason="retrieval") == 1
    assert (failed.served_from, list(failed.degraded)) == (pb.SERVED_FROM_FALLBACK, ["retrieval"])
    assert item_ids(failed) == ["i1", "i2"]
    assert again.served_from == pb.SERVED_FROM_MODEL


async def test_when_the_model_fails_an_explained_slate_is_the_popular_one_too():
    recommender = FakeRecommender(users=("known", "poison"))
    recommender.poison = "poison"
    async with serving(FakeRegistry(recommender)) as client:
        failed = await client.recommend(pb.RecommendRequest(user_id="poison", slate_size=2, explain=True))
    assert (failed.served_from, list(failed.degraded)) == (pb.SERVED_FROM_FALLBACK, ["retrieval"])
    assert item_ids(failed) == ["i0", "i1"]


async def test_a_defect_is_told_by_an_id_that_the_log_names_and_by_nothing_else(caplog):
    recommender = FakeRecommender()
    recommender.is_personal = None
    async with serving(FakeRegistry(recommender)) as client:
        details = await refused(client.recommend(pb.RecommendRequest(user_id="known")))
    assert (details.code.name, details.reason) == ("INTERNAL", "INTERNAL")
    assert details.metadata["request_id"] in caplog.text
    assert "NoneType" in caplog.text
    assert "NoneType" not in details.message


async def test_a_client_that_has_given_up_is_not_computed_for():
    recommender = FakeRecommender(users=("first", "hasty"))
    recommender.open.clear()
    async with serving(FakeRegistry(recommender)) as client:
        first = client.recommend(pb.RecommendRequest(user_id="first"))
        await until(recommender.started.is_set)
        details = await refused_by_time(client, "hasty")
        await asyncio.sleep(0.1)  # the server hears of it a little later
        recommender.open.set()
        await first
    assert details == "DEADLINE_EXCEEDED"
    assert [query.user_id for batch in recommender.batches for query in batch] == ["first"]


async def test_a_request_that_waited_too_long_is_told_so_by_the_server():
    recommender = FakeRecommender(users=("first", "patient"))
    recommender.open.clear()
    async with serving(FakeRegistry(recommender), settings(deadline_seconds=0.05)) as client:
        first = client.recommend(pb.RecommendRequest(user_id="first"))
        await until(recommender.started.is_set)
        patient = client.recommend(pb.RecommendRequest(user_id="patient"))
        await asyncio.sleep(0.1)
        recommender.open.set()
        await first
        details = await refused(patient)
    assert (details.code.name, details.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")


async def test_when_too_many_wait_the_next_is_shed():
    recommender = FakeRecommender(users=[f"u{num}" for num in range(9)])
    recommender.open.clear()
    async with serving(FakeRegistry(recommender), settings(max_waiting=2, deadline_seconds=30.0)) as client:
        computing = client.recommend(pb.RecommendRequest(user_id="u0"))
        await until(recommender.started.is_set)
        waiting = [client.recommend(pb.RecommendRequest(user_id=f"u{num}")) for num in (1, 2)]
        await asyncio.sleep(0.05)
        shed = client.recommend(pb.RecommendRequest(user_id="u3"))
        await asyncio.sleep(0.05)
        recommender.open.set()
        for call in (computing, *waiting):
            assert (await call).items
        details = await refused(shed)
    assert (details.code.name, details.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
    assert details.retry_seconds > 0


async def refused_by_time(client, user_id) -> str:
    with pytest.raises(Exception, match="DEADLINE_EXCEEDED"):
        await client.recommend(pb.RecommendRequest(user_id=user_id), timeout=0.1)
    return "DEADLINE_EXCEEDED"
