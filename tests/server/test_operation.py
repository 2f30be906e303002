"""What an operator sees: health, reflection, metrics, drain, addresses."""

import asyncio
import urllib.request

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from recsys.v1 import experiment_service_pb2 as assign_pb
from recsys.v1 import recommendation_service_pb2 as pb
from recsys_server.app import App
from recsys_server.errors import AddressError
from recsys_server.interceptors import Gate
from recsys_server.telemetry import Telemetry
from server_fakes import FakeRecommender, FakeRegistry, refused, serving, settings, until


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


async def test_a_drain_finishes_what_is_inside_and_tells_health_at_once():
    recommender = FakeRecommender(users=("first", "second"))
    async with serving(FakeRegistry(recommender), settings(deadline_seconds=30.0)) as client:
        recommender.open.clear()
        computed = client.recommend(pb.RecommendRequest(user_id="first"))
        await until(recommender.started.is_set)
        waiting = client.recommend(pb.RecommendRequest(user_id="second"))
        await asyncio.sleep(0.05)
        stub = health_pb2_grpc.HealthStub(client.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        drain = asyncio.create_task(client.app.drain())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert not drain.done()
        recommender.open.set()
        assert (await computed).items
        assert (await waiting).items
        async with asyncio.timeout(2):  # although the watch would never end
            await drain


async def test_who_cannot_be_finished_in_time_is_told_to_try_another_replica():
    recommender = FakeRecommender(users=("first", "second"))
    options = settings(deadline_seconds=30.0, drain_seconds=0.1)
    async with serving(FakeRegistry(recommender), options) as client:
        recommender.open.clear()
        first = client.recommend(pb.RecommendRequest(user_id="first"))
        await until(recommender.started.is_set)
        second = client.recommend(pb.RecommendRequest(user_id="second"))
        await asyncio.sleep(0.05)
        asyncio.get_running_loop().call_later(0.3, recommender.open.set)
        drain = asyncio.create_task(client.app.drain())
        details = await refused(second)
        assert (details.code.name, details.reason) == ("UNAVAILABLE", "DRAINING")
        await asyncio.gather(drain, first, return_exceptions=True)


@pytest.mark.parametrize(("remaining", "allowed"), [(None, 2.0), (0.5, 0.5), (9.0, 2.0)])
async def test_a_call_may_take_what_its_client_allows_but_no_longer_than_the_server_does(remaining, allowed):
    class Context:
        def time_remaining(self):
            return remaining

    async def respond(_, deadline):
        deadlines.append(deadline)
        return b""

    deadlines = []
    handler = Gate(Telemetry(lambda: 0.0), 2.0, lambda: 100.0).method("Recommend", respond)
    await handler.unary_unary(b"", Context())
    assert deadlines == [100.0 + allowed]


async def test_after_a_drain_nothing_listens():
    async with serving(FakeRegistry(FakeRecommender())) as client:
        await client.app.drain()
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
