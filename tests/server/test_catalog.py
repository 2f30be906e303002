"""UpsertItems and DeleteItems over real servers: in force for the next request of every server, and after a restart."""

import contextlib
import time

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

import server_fakes as fakes
import worlds
from recsys.catalogue_log import CatalogueLog, ItemChange
from recsys.v1 import catalog_service_pb2, catalog_service_pb2_grpc, recommendation_service_pb2, rules_pb2

SHOP = worlds.world()
Item, Attribute = catalog_service_pb2.Item, catalog_service_pb2.Attribute


class RealRegistry(fakes.FakeRegistry):
    """A registry in memory whose bundles are real ones; nothing of them waits for a test."""

    def __init__(self, *recommenders):
        super().__init__(*recommenders)
        self.recommenders = {one.bundle_id: one for one in recommenders}


@pytest.fixture(scope="module")
def bundle():
    return worlds.recommender(SHOP, "b1", ranker=None)


@contextlib.asynccontextmanager
async def serving(state, *recommenders):
    registry = RealRegistry(*recommenders)
    options = fakes.settings(state=state)
    app = fakes.App(options, registry, registry.load)
    await app.start()
    try:
        async with fakes.grpc.aio.insecure_channel(app.address) as channel:
            client = fakes.Client(app, channel)
            stub = catalog_service_pb2_grpc.CatalogServiceStub(channel)
            client.upsert = lambda *items: stub.UpsertItems(catalog_service_pb2.UpsertItemsRequest(items=items))
            client.delete = lambda *ids: stub.DeleteItems(catalog_service_pb2.DeleteItemsRequest(item_ids=ids))
            client.registry = registry
            yield client
    finally:
        await app.drain()


async def slate(client, user="u01", **fields):
    request = recommendation_service_pb2.RecommendRequest(**{"user_id": user, "slate_size": 70, **fields})
    return [item.item_id for item in (await client.recommend(request)).items]


def named(*item_ids):
    return rules_pb2.Condition(any_of=rules_pb2.AnyOf(attribute="item_id", values=item_ids))


def cheap(high):
    return rules_pb2.Condition(range=rules_pb2.Range(attribute="price", high=high))


async def test_a_price_and_availability_are_in_force_for_the_next_request_of_every_server(tmp_path, bundle):
    async with serving(tmp_path, bundle) as one, serving(tmp_path, bundle) as other:
        for user in ("u01", ""):
            await slate(one, user)  # so that caches have something to forget
            await slate(other, user)
        for number in range(20):
            item = f"i{number:02}"
            assert (await one.upsert(Item(item_id=item, available=False))).upserted_count == 1
            for user in ("u01", ""):
                assert item not in await slate(other, user)
                assert item not in await slate(one, user)
        await other.upsert(*[Item(item_id=f"i{number:02}", available=True, price=19.99) for number in range(3)])
        for client in (one, other):
            assert sorted(await slate(client, filter=cheap(19.99))) == ["i00", "i01", "i02"]
            assert await slate(client, filter=cheap(19.98)) == []


async def test_a_deleted_item_is_in_no_slate_until_it_is_upserted_again_also_after_a_restart(tmp_path, bundle):
    async with serving(tmp_path, bundle) as client:
        best = (await slate(client))[0]
        response = await client.delete(best, best, "nobody", "")
        assert response.deleted_count == 2
        assert [rejection.index for rejection in response.rejections] == [3]
        assert best not in await slate(client)
    async with serving(tmp_path, bundle) as client:
        assert best not in await slate(client)
        await client.upsert(Item(item_id=best))
        assert (await slate(client))[0] == best


async def test_a_new_item_is_there_at_once_and_after_a_restart_and_under_the_next_bundle(tmp_path, bundle):
    async with serving(tmp_path, bundle) as client:
        await client.upsert(Item(item_id="fresh", brand="new brand"))
        assert "fresh" in await slate(client)
        assert await slate(client, filter=named("fresh")) == ["fresh"]
        assert (await slate(client, pins=[rules_pb2.Pin(item_id="fresh", rank=2)]))[1] == "fresh"
    async with serving(tmp_path, bundle) as client:
        assert await slate(client, filter=named("fresh")) == ["fresh"]
        client.registry.publish(worlds.recommender(SHOP, "b2", ranker=None))
        await fakes.until(lambda: client.app.models.bundle_id == "b2")
        assert await slate(client, filter=named("fresh")) == ["fresh"]
        await client.delete("fresh")
        assert await slate(client, filter=named("fresh")) == []


async def test_what_is_not_set_stays_and_an_attribute_without_value_goes(tmp_path, bundle):
    def of(name, text):
        return rules_pb2.Condition(any_of=rules_pb2.AnyOf(attribute=name, values=[text]))

    async with serving(tmp_path, bundle) as client:
        colour = Attribute(name="colour", text="red")
        await client.upsert(Item(item_id="i03", brand="acme", category="home>kitchen", attributes=[colour]))
        await client.upsert(Item(item_id="i03", price=5, attributes=[Attribute(name="vegan", flag=True)]))
        flag = rules_pb2.Condition(flag=rules_pb2.Flag(attribute="vegan", value=True))
        kitchen = rules_pb2.Condition(within_category="home > kitchen")
        for condition in (of("brand", "acme"), of("colour", "red"), flag, kitchen, cheap(5)):
            assert await slate(client, filter=condition) == ["i03"]
        await client.upsert(Item(item_id="i03", brand="", attributes=[Attribute(name="colour")]))
        for condition in (of("brand", "acme"), of("colour", "red")):
            assert await slate(client, filter=condition) == []
        assert await slate(client, filter=cheap(5)) == ["i03"]


async def test_a_window_that_is_over_or_yet_to_come_keeps_an_item_out(tmp_path, bundle):
    now = int(time.time())
    windows = {
        "i01": {"valid_until_time": Timestamp(seconds=now - 5)},
        "i02": {"valid_from_time": Timestamp(seconds=now + 1000)},
        "i03": {"valid_from_time": Timestamp(seconds=now - 5), "valid_until_time": Timestamp(seconds=now + 1000)},
    }
    async with serving(tmp_path, bundle) as client:
        await client.upsert(*[Item(item_id=item, **window) for item, window in windows.items()])
        assert await slate(client, filter=named(*windows)) == ["i03"]


WRONG = [
    ({"item_id": ""}, "item_id"),
    ({"item_id": "ü" * 129}, "item_id"),
    ({"item_id": "a\0b"}, "item_id"),
    ({"title": "x" * 1025}, "title"),
    ({"category": "x" * 1025}, "category"),
    ({"brand": "x" * 257}, "brand"),
    ({"price": -1}, "price"),
    ({"price": float("nan")}, "price"),
    ({"price": float("inf")}, "price"),
    ({"valid_from_time": Timestamp(seconds=5), "valid_until_time": Timestamp(seconds=5)}, "valid_until_time"),
    ({"embedding": [1.0, float("nan")]}, "embedding"),
    ({"attributes": [Attribute(name="")]}, "attributes"),
    ({"attributes": [Attribute(name="x" * 65)]}, "attributes"),
    ({"attributes": [Attribute(name="price", number=3)]}, "attributes"),
    ({"attributes": [Attribute(name="colour", text="x" * 257)]}, "attributes"),
    ({"attributes": [Attribute(name="size", number=float("inf"))]}, "attributes"),
    ({"attributes": [Attribute(name=f"a{num}", flag=True) for num in range(101)]}, "attributes"),
]


async def test_a_bad_item_is_rejected_alone_with_what_is_wrong(tmp_path):
    bad = [Item(**{"item_id": f"bad{place}", **fields}) for place, (fields, _) in enumerate(WRONG)]
    async with serving(tmp_path) as client:
        response = await client.upsert(Item(item_id="first", price=1), *bad, Item(item_id="first", price=2))
    assert response.upserted_count == 1
    assert [one.index for one in response.rejections] == list(range(1, len(WRONG) + 1))
    assert [one.reason.partition(":")[0] for one in response.rejections] == [field for _, field in WRONG]
    with contextlib.closing(CatalogueLog(tmp_path)) as log:
        (stored,), _ = log.since(0)
    assert (stored.item_id, stored.facts) == ("first", {"price": 2.0})


async def test_items_have_so_many_different_attributes_and_no_more(tmp_path, bundle):
    before = len(bundle.model.catalogue.names)
    many = [[Attribute(name=f"a{at}-{n}", number=n) for n in range(90)] for at in range(6)]
    known = Item(item_id="i9", attributes=[Attribute(name="a0-0", number=7)])
    async with serving(tmp_path, bundle) as client:
        response = await client.upsert(*(Item(item_id=f"i{at}", attributes=own) for at, own in enumerate(many)), known)
        assert [one.index for one in response.rejections] == [5]
        assert "is new, and items have 500 different ones already" in response.rejections[0].reason
        await slate(client)
        assert len(client.app._current().model.catalogue.names) == before + 5 * 90
    with contextlib.closing(CatalogueLog(tmp_path)) as log:  # as another server may have written meanwhile
        log.write([ItemChange("i8", {f"b-{n}": 1.0 for n in range(90)} | {"available": False})])
    async with serving(tmp_path, bundle) as client:
        assert "i8" not in await slate(client), "what an item may be is no attribute that is left out"
        names = client.app._current().model.catalogue.names
        assert len(names) == 500 + ("available" not in bundle.model.catalogue.names)


async def test_a_call_of_no_items_or_too_many_is_refused(tmp_path):
    async with serving(tmp_path) as client:
        for count in (0, 1_001):
            details = await fakes.refused(client.upsert(*[Item(item_id="x")] * count))
            assert (details.code.name, list(details.violations)) == ("INVALID_ARGUMENT", ["items"])
            details = await fakes.refused(client.delete(*["x"] * count))
            assert (details.code.name, list(details.violations)) == ("INVALID_ARGUMENT", ["item_ids"])


async def test_a_server_without_a_state_directory_says_how_to_give_it_one(bundle):
    async with serving(None, bundle) as client:
        for call in (client.upsert(Item(item_id="x")), client.delete("x")):
            details = await fakes.refused(call)
            assert (details.code.name, details.reason) == ("FAILED_PRECONDITION", "NO_STATE")
            assert "--state" in details.message


async def test_slates_go_on_when_the_file_fails_and_a_write_says_that_nothing_was_stored(tmp_path, bundle):
    async with serving(tmp_path, bundle) as client:
        await client.upsert(Item(item_id="fresh"))
        assert "fresh" in await slate(client)
        catalogue = client.app._catalogue
        catalogue._reader.close()
        catalogue._writer.close()
        assert "fresh" in await slate(client)
        details = await fakes.refused(client.upsert(Item(item_id="x")))
        assert (details.code.name, details.reason) == ("UNAVAILABLE", "STORAGE")
