"""The registry's alias moves while the server runs."""

import asyncio
import json
import logging

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from recsys.errors import BundleError
from recsys.v1 import recommendation_service_pb2 as pb
from recsys_server import models
from recsys_server.logs import JsonFormatter
from server_fakes import FakeRecommender, FakeRegistry, refused, serving, settings, until

REQUEST = pb.RecommendRequest(user_id="known")


async def health(client, service=""):
    stub = health_pb2_grpc.HealthStub(client.channel)
    response = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    return health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)


async def test_a_published_bundle_is_served_without_a_restart():
    registry = FakeRegistry(FakeRecommender("b1"))
    async with serving(registry) as client:
        registry.publish(FakeRecommender("b2"))
        await until(lambda: client.app.models.bundle_id == "b2")
        assert (await client.recommend(REQUEST)).bundle_id == "b2"
        assert client.metric("recsys_bundle_info", bundle="b2") == 1
        assert client.metric("recsys_bundle_info", bundle="b1") is None
        assert client.metric("recsys_bundle_age_seconds") > 0


async def test_the_first_bundle_is_picked_up_when_it_is_published():
    registry = FakeRegistry()
    async with serving(registry) as client:
        assert await health(client) == await health(client, "recsys.v1.RecommendationService") == "NOT_SERVING"
        assert (await refused(client.recommend(REQUEST))).reason == "NO_BUNDLE"
        registry.publish(FakeRecommender("b1"))
        await until(lambda: client.app.models.bundle_id == "b1")
        assert await health(client) == await health(client, "recsys.v1.RecommendationService") == "SERVING"
        assert (await client.recommend(REQUEST)).bundle_id == "b1"


async def test_a_damaged_bundle_is_refused_once_and_the_old_one_keeps_serving(caplog):
    registry = FakeRegistry(FakeRecommender("b1"))
    async with serving(registry) as client:
        registry.publish_damaged("b2")
        await until(lambda: client.metric("recsys_bundle_failures_total") == 1)
        await asyncio.sleep(0.2)  # ten polls
        assert (await client.recommend(REQUEST)).bundle_id == "b1"
        assert await health(client) == "SERVING"
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    line = json.loads(JsonFormatter().format(errors[0]))
    assert line["message"] == "bundle b2 refused: bundle b2: items.npy is damaged; still serving b1"
    assert registry.loads == ["b1", "b2"]


async def test_after_a_damaged_bundle_the_next_good_one_is_served():
    registry = FakeRegistry(FakeRecommender("b1"))
    async with serving(registry) as client:
        registry.publish_damaged("b2")
        await until(lambda: "b2" in registry.loads)
        registry.publish(FakeRecommender("b3"))
        await until(lambda: client.app.models.bundle_id == "b3")


async def test_a_refused_bundle_is_tried_again_after_some_minutes(monkeypatch):
    monkeypatch.setattr(models, "RETRY_SECONDS", 0.1)
    registry = FakeRegistry(FakeRecommender("b1"))
    async with serving(registry) as client:
        registry.publish_damaged("b2")
        await until(lambda: "b2" in registry.loads)
        registry.publish(FakeRecommender("b2"))
        await until(lambda: client.app.models.bundle_id == "b2")


async def test_a_refused_bundle_that_is_mended_and_promoted_again_is_tried_at_once():
    registry = FakeRegistry(FakeRecommender("b1"))
    async with serving(registry) as client:
        for failures in (1, 2):
            registry.publish_damaged("b2")
            await until(lambda: client.metric("recsys_bundle_failures_total") == failures)  # noqa: B023
            registry.alias = "b1"
            await asyncio.sleep(0.1)
        registry.publish(FakeRecommender("b2"))
        await until(lambda: client.app.models.bundle_id == "b2")


async def test_a_bundle_that_is_taken_back_while_it_is_loaded_does_not_serve():
    registry = FakeRegistry(FakeRecommender("b1"))
    load = registry.load

    async def slowly(path):
        loaded = await load(path)
        if path.name == "b2":
            await until(lambda: registry.alias == "b1")
        return loaded

    registry.load = slowly
    async with serving(registry) as client:
        registry.publish(FakeRecommender("b2"))
        await until(lambda: "b2" in registry.loads)
        registry.alias = "b1"
        await asyncio.sleep(0.2)
        assert client.app.models.bundle_id == "b1"
    assert registry.loads == ["b1", "b2"]


async def test_a_rollback_to_the_serving_bundle_loads_nothing():
    registry = FakeRegistry(FakeRecommender("b1"))
    async with serving(registry) as client:
        registry.publish_damaged("b2")
        await until(lambda: "b2" in registry.loads)
        registry.alias = "b1"
        await asyncio.sleep(0.1)
        assert client.app.models.bundle_id == "b1"
    assert registry.loads == ["b1", "b2"]


async def test_a_request_in_flight_is_answered_by_the_bundle_it_began_with():
    users = [f"u{num}" for num in range(8)]
    old, new = FakeRecommender("b1", users=users), FakeRecommender("b2", users=users)
    old.seconds = 0.1
    registry = FakeRegistry(old)
    async with serving(registry, settings(deadline_seconds=30.0, max_batch=1)) as client:
        calls = [asyncio.ensure_future(client.recommend(pb.RecommendRequest(user_id=user))) for user in users]
        await until(old.started.is_set)
        registry.publish(new)
        await until(lambda: client.app.models.bundle_id == "b2")
        assert not all(call.done() for call in calls)
        assert [(await call).bundle_id for call in calls] == ["b1"] * 8
        assert (await client.recommend(REQUEST)).bundle_id == "b2"


async def test_a_registry_that_cannot_be_read_changes_nothing(monkeypatch, caplog):
    registry = FakeRegistry(FakeRecommender("b1"))
    async with serving(registry) as client:
        monkeypatch.setattr(registry, "live", lambda: 1 / 0)
        await until(lambda: "refused" in caplog.text)
        await asyncio.sleep(0.1)
        assert (await client.recommend(REQUEST)).bundle_id == "b1"
    assert caplog.text.count("refused") == 1


async def test_a_server_does_not_start_on_a_damaged_bundle():
    registry = FakeRegistry()
    registry.publish_damaged("b1")
    with pytest.raises(BundleError, match=r"items\.npy"):
        async with serving(registry):
            pass


async def test_the_process_that_verifies_tells_what_is_wrong_in_one_line(tmp_path):
    with pytest.raises(BundleError, match="manifest") as caught:
        await models.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_bundle_that_kills_the_process_that_verifies_it_is_named(tmp_path):
    assert "SIGSEGV" in models._fault(tmp_path, -11, [])
    assert str(tmp_path) in models._fault(tmp_path, -11, [])
