"""Items on the wire to changes of the catalogue, and what is said of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from recsys.catalogue import VALID_FROM, VALID_UNTIL
from recsys.catalogue_log import EMBEDDING, Fact, ItemChange
from recsys.extend import MOST_ATTRIBUTES
from recsys.v1 import catalog_service_pb2
from recsys.vocabulary import MAX_ID_BYTES
from recsys_server.errors import Violation
from recsys_server.wire import parsed, refuse, too_long, too_many

MAX_ITEMS = 1_000
MAX_ATTRIBUTES = 100
MAX_NAME_BYTES = 64
MAX_BYTES = {"title": 1_024, "category": 1_024, "brand": 256}
MAX_TEXT_BYTES = 256
TIMES = (VALID_FROM, VALID_UNTIL, "created_time")
OWN_FIELDS = {field.name for field in catalog_service_pb2.Item.DESCRIPTOR.fields}
NOT_AN_ID = f"item_id: required, at most {MAX_ID_BYTES} bytes, none of them NUL"


def upsert_request(data: bytes, dimensions: int, names: Collection[str]) -> tuple[list[ItemChange], dict[int, str]]:
    """The changes of an UpsertItemsRequest, of each item the last, and the reason against each bad one by its place.

    Args:
        data: the message.
        dimensions: of the embeddings of the bundle that serves; 0: not known.
        names: of the attributes that there are.

    Raises:
        MalformedMessageError: data is not such a message.
        InvalidRequestError: there is no item, or too many.
    """
    request = parsed(catalog_service_pb2.UpsertItemsRequest, data)
    _check_size(request.request_id, "items", len(request.items))
    known = {*names}
    reasons = {place: "; ".join(_violations(item, dimensions, known)) for place, item in enumerate(request.items)}
    rejections = {place: reason for place, reason in reasons.items() if reason}
    good = {
        item.item_id: ItemChange(item.item_id, dict(_facts(item)))
        for place, item in enumerate(request.items)
        if place not in rejections
    }
    return list(good.values()), rejections


def delete_request(data: bytes) -> tuple[list[ItemChange], dict[int, str]]:
    """The changes of a DeleteItemsRequest, and the reason against each id that can be no item's by its place.

    Raises:
        MalformedMessageError: data is not such a message.
        InvalidRequestError: there is no id, or too many.
    """
    request = parsed(catalog_service_pb2.DeleteItemsRequest, data)
    _check_size(request.request_id, "item_ids", len(request.item_ids))
    rejections = {place: NOT_AN_ID for place, item_id in enumerate(request.item_ids) if not _is_id(item_id)}
    good = dict.fromkeys(item_id for item_id in request.item_ids if _is_id(item_id))
    return [ItemChange(item_id, deleted=True) for item_id in good], rejections


def upsert_response(count: int, rejections: Mapping[int, str]) -> bytes:
    """An UpsertItemsResponse."""
    return catalog_service_pb2.UpsertItemsResponse(
        upserted_count=count, rejections=_rejections(rejections)
    ).SerializeToString()


def delete_response(count: int, rejections: Mapping[int, str]) -> bytes:
    """A DeleteItemsResponse."""
    return catalog_service_pb2.DeleteItemsResponse(
        deleted_count=count, rejections=_rejections(rejections)
    ).SerializeToString()


def _check_size(request_id: str, field: str, count: int) -> None:
    required = () if count else (Violation(field, f"is required: 1 to {MAX_ITEMS:,}"),)
    refuse((*required, *too_long("request_id", request_id, MAX_ID_BYTES), *too_many(field, count, MAX_ITEMS)))


def _rejections(rejections: Mapping[int, str]) -> Iterator[catalog_service_pb2.ItemRejection]:
    return (catalog_service_pb2.ItemRejection(index=index, reason=reason) for index, reason in rejections.items())


def _is_id(text: str) -> bool:
    return 0 < len(text.encode()) <= MAX_ID_BYTES and "\0" not in text


def _facts(item: catalog_service_pb2.Item) -> Iterator[tuple[str, Fact]]:
    """What an item without violations says, by name."""
    for name in (*MAX_BYTES, "available"):
        if item.HasField(name):
            yield name, getattr(item, name)
    if item.HasField("price"):
        # What the number was written as, which a float32 is not quite.
        yield "price", float(str(np.float32(item.price)))
    for name in TIMES:
        if item.HasField(name):
            yield name, float(getattr(item, name).seconds)
    if item.embedding:
        yield EMBEDDING, list(item.embedding)
    for attribute in item.attributes:
        kind = attribute.WhichOneof("value")
        yield attribute.name, getattr(attribute, kind) if kind else None


def _violations(item: catalog_service_pb2.Item, dimensions: int, known: set[str]) -> Iterator[str]:
    """All that is wrong with an item; its attributes are known from then on."""
    if not _is_id(item.item_id):
        yield NOT_AN_ID
    for name, limit in MAX_BYTES.items():
        if len(getattr(item, name).encode()) > limit:
            yield f"{name}: at most {limit:,} bytes"
    if not 0 <= item.price < math.inf:
        yield "price: must be 0 or more and finite"
    if item.HasField(VALID_FROM) and item.HasField(VALID_UNTIL):
        first, last = item.valid_from_time.seconds, item.valid_until_time.seconds
        if last <= first:
            yield "valid_until_time: must be after valid_from_time"
    yield from _embedding_violations(item.embedding, dimensions)
    if len(item.attributes) > MAX_ATTRIBUTES:
        yield f"attributes: at most {MAX_ATTRIBUTES}"
    for attribute in item.attributes[:MAX_ATTRIBUTES]:
        yield from _attribute_violations(attribute)
        if attribute.name not in known and len(known) >= MOST_ATTRIBUTES:
            yield f"attributes: {attribute.name} is new, and items have {MOST_ATTRIBUTES} different ones already"
            return
        known.add(attribute.name)


def _embedding_violations(embedding: Sequence[float], dimensions: int) -> Iterator[str]:
    if not all(map(math.isfinite, embedding)):
        yield "embedding: all numbers must be finite"
    if embedding and dimensions and len(embedding) != dimensions:
        yield f"embedding: must have {dimensions} numbers, as in training, not {len(embedding)}"


def _attribute_violations(attribute: catalog_service_pb2.Attribute) -> Iterator[str]:
    name = attribute.name
    if not 0 < len(name.encode()) <= MAX_NAME_BYTES:
        yield f"attributes: a name has 1 to {MAX_NAME_BYTES} bytes"
    elif name in OWN_FIELDS:
        yield f"attributes: {name} is a field of the item; set that"
    elif len(attribute.text.encode()) > MAX_TEXT_BYTES:
        yield f"attributes: the text of {name} has at most {MAX_TEXT_BYTES} bytes"
    elif not math.isfinite(attribute.number):
        yield f"attributes: the number of {name} must be finite"
