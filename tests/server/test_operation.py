"""What an operator sees: health, reflection, metrics, drain, addresses."""

import asyncio
import math
import urllib.request

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from recsys.v1 import experiment_service_pb2 as assign_pb
from recsys.v1 import recommendation_service_pb2 as pb
from recsys_server.app import App
from recsys_server.errors import AddressError
from recsys_server.front.frames import Kind
from recsys_server.interceptors import Gate
from recsys_server.telemetry import Telemetry
from server_fakes import Details, FakeRecommender, FakeRegistry, refused, serving, settings, until


def scrape(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as page:
        return page.read().decode()


async def test_reflection_names_our_services():
    async with serving(FakeRegistry(FakeRecommender())) as client:
        stub = reflection_pb2_grpc.ServerReflectionStub(client.channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        services = {service.name for service in (await call.read()).list_services_response.service}
        call.cancel()
    assert {
        "recsys.v1.RecommendationService",
        "recsys.v1.ExperimentService",
        "grpc.health.v1.Health",
    } <= services


async def test_metrics_count_calls_by_method_and_code_and_hold_no_id():
    async with serving(FakeRegistry(FakeRecommender(users=["secret-user"]))) as client:
        await client.recommend(pb.RecommendRequest(user_id="secret-user", seed_item_ids=["i3"]))
        await client.assign(assign_pb.AssignVariantsRequest(unit_id="secret-user"))
        await refused(client.recommend(pb.RecommendRequest(user_id="secret-user", slate_size=-1)))
        with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
            await client.send(b"", "/recsys.v1.RecommendationService/Secret")
        page = await asyncio.to_thread(scrape, client.app.metrics_address)
    for line in (
        'recsys_requests_total{code="OK",method="Recommend"} 1.0',
        'recsys_requests_total{code="INVALID_ARGUMENT",method="Recommend"} 1.0',
        'recsys_requests_total{code="OK",method="AssignVariants"} 1.0',
        'recsys_rpc_duration_seconds_count{method="Recommend"} 2.0',
        'recsys_stage_duration_seconds_count{stage="retrieve"} 1.0',
        'recsys_stage_duration_seconds_count{stage="wait"} 1.0',
        'recsys_bundle_info{bundle="b1"} 1.0',
    ):
        assert line in page
    for word in ("secret", "Secret", "i3"):
        assert word not in page


async def test_metrics_can_be_left_out():
    async with serving(FakeRegistry(FakeRecommender()), settings(metrics="")) as client:
        assert client.app.metrics_address == "none"
        assert (await client.recommend(pb.RecommendRequest())).items


async def test_a_drain_finishes_what_is_inside_and_tells_health_first():
    users = [f"u{num}" for num in range(8)]
    recommender = FakeRecommender(users=users)
    recommender.seconds = 0.1
    async with serving(FakeRegistry(recommender), settings(deadline_seconds=30.0, max_batch=1)) as client:
        watch = health_pb2_grpc.HealthStub(client.channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        calls = [asyncio.ensure_future(client.recommend(pb.RecommendRequest(user_id=user))) for user in users]
        await until(recommender.started.is_set)
        drain = client.there(client.app.drain())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert not all(call.done() for call in calls)
        assert all([(await call).items for call in calls])
        async with asyncio.timeout(2):  # although the watch would never end
            await drain


async def test_who_cannot_be_finished_in_time_is_told_to_try_another_replica():
    users = [f"u{num}" for num in range(12)]
    recommender = FakeRecommender(users=users)
    recommender.seconds = 0.1
    options = settings(deadline_seconds=30.0, drain_seconds=0.3, max_batch=1)
    async with serving(FakeRegistry(recommender), options) as client:
        calls = [asyncio.ensure_future(client.recommend(pb.RecommendRequest(user_id=user))) for user in users]
        await until(recommender.started.is_set)
        await client.there(client.app.drain())
        outcomes = [Details(error) if error else None for error in [call.exception() for call in calls]]
    refusals = [details for details in outcomes if details]
    assert {(details.code.name, details.reason) for details in refusals} == {("UNAVAILABLE", "DRAINING")}
    assert 0 < len(refusals) < len(users)


@pytest.mark.parametrize(("given", "allowed"), [(math.inf, 2.0), (100.5, 0.475), (109.0, 2.0)])
async def test_a_call_may_take_what_its_client_allows_but_no_longer_than_the_server_does(given, allowed):
    async def respond(_, deadline):
        deadlines.append(deadline)
        return b"answer"

    deadlines, replies = [], []
    gate = Gate({"Recommend": respond}, Telemetry(lambda: 0.0), 2.0, lambda: 100.25)
    gate.answer("Recommend", b"", 100.0, given, lambda *reply: replies.append(reply))
    assert replies == [(Kind.ANSWER, b"answer")]
    assert deadlines == [pytest.approx(100.0 + allowed)]


async def test_after_a_drain_nothing_listens():
    async with serving(FakeRegistry(FakeRecommender())) as client:
        await client.there(client.app.drain())
        async with grpc.aio.insecure_channel(client.app.address) as channel:
            with pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
                await channel.unary_unary("/recsys.v1.RecommendationService/Recommend")(b"")


@pytest.mark.parametrize("option", ["listen", "metrics"])
async def test_a_taken_address_is_refused_by_its_name(option):
    async with serving(FakeRegistry(FakeRecommender())) as client:
        taken = client.app.address if option == "listen" else client.app.metrics_address
        registry = FakeRegistry(FakeRecommender())
        second = App(settings(**{option: taken}), registry, registry.load)
        with pytest.raises(AddressError, match=f"{taken}.*--{option}"):
            await second.start()
        await second.drain()
