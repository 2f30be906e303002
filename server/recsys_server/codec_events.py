"""Events on the wire to those of the log and of a request, and what is said of them."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence

from recsys.event_log import LoggedEvent
from recsys.types import SECONDS_PER_DAY, EventType, LiveEvent
from recsys.v1 import event_pb2, event_service_pb2
from recsys.vocabulary import MAX_ID_BYTES
from recsys_server.errors import Violation
from recsys_server.wire import parsed, refuse, too_long, too_many

MAX_EVENTS = 1_000
MAX_POSITION = 500
AHEAD_SECONDS = SECONDS_PER_DAY
"""How far a shop's clock may be ahead."""
_TYPES = frozenset(map(int, EventType))
_IDS = ("event_id", "user_id", "item_id", "session_id", "recommendation_id")


def record_request(data: bytes, now: int) -> tuple[list[LoggedEvent], dict[int, str]]:
    """The good events of a RecordEventsRequest, and the reason against each bad one by its place.

    Args:
        data: the message.
        now: unix seconds.

    Raises:
        MalformedMessageError: data is not such a message.
        InvalidRequestError: there is no event, or too many.
    """
    request = parsed(event_service_pb2.RecordEventsRequest, data)
    required = () if request.events else (Violation("events", "is required: 1 to 1,000 events"),)
    refuse(
        (
            *required,
            *too_long("request_id", request.request_id, MAX_ID_BYTES),
            *too_many("events", len(request.events), MAX_EVENTS),
        )
    )
    rejections = {index: reason for index, event in enumerate(request.events) if (reason := _reason(event, now))}
    good = [_logged(event, now) for index, event in enumerate(request.events) if index not in rejections]
    return good, rejections


def record_response(accepted: Sequence[bool], rejections: Mapping[int, str]) -> bytes:
    """A RecordEventsResponse.

    Args:
        accepted: whether each good event is new.
        rejections: as ``record_request`` gave them.
    """
    new = sum(accepted)
    response = event_service_pb2.RecordEventsResponse(accepted_count=new, duplicate_count=len(accepted) - new)
    for index, reason in rejections.items():
        response.rejections.add(index=index, reason=reason)
    return response.SerializeToString()


def recent_events(events: Iterable[event_pb2.Event], now: int) -> tuple[LiveEvent, ...]:
    """Those of a request that its own user has just done, newest first; bad ones are left out.

    Args:
        events: in any order.
        now: unix seconds.
    """
    live = [_live(event, now) for event in events if event.item_id and not any(_event_violations(event, now))]
    return tuple(sorted(live, key=lambda event: event.time, reverse=True))


def _reason(event: event_pb2.Event, now: int) -> str:
    """All that is wrong with an event to be stored; empty: nothing."""
    required = [] if event.user_id else ["user_id: required"]
    return "; ".join((*required, *_event_violations(event, now)))


def _event_violations(event: event_pb2.Event, now: int) -> Iterator[str]:
    """What is wrong with an event, whoever's it is."""
    if event.event_type not in _TYPES:
        yield f"event_type: {event.event_type or 'required'}{' is not known' if event.event_type else ''}"
    if not event.item_id and event.event_type != event_pb2.EVENT_TYPE_SEARCH:
        yield "item_id: required unless event_type is EVENT_TYPE_SEARCH"
    texts = (event.event_id, event.user_id, event.item_id, event.session_id, event.recommendation_id)
    if not _is_short("".join(texts)):  # mostly they are short together
        for field, text in zip(_IDS, texts, strict=True):
            if not _is_short(text):
                yield f"{field}: at most {MAX_ID_BYTES} bytes, none of them NUL"
    if not 0 <= _time(event, now) <= now + AHEAD_SECONDS:
        yield "event_time: must be from 1970 to at most a day ahead"
    if event.HasField("quantity") and not 0 < event.quantity < math.inf:
        yield "quantity: must be above 0 and finite"
    if event.HasField("price") and not 0 <= event.price < math.inf:
        yield "price: must be 0 or more and finite"
    if not 0 <= event.position <= MAX_POSITION:
        yield f"position: must be 0 (unknown) to {MAX_POSITION}"


def _is_short(text: str) -> bool:
    return len(text.encode()) <= MAX_ID_BYTES and "\0" not in text


def _time(event: event_pb2.Event, now: int) -> int:
    return event.event_time.seconds if event.HasField("event_time") else now


def _logged(event: event_pb2.Event, now: int) -> LoggedEvent:
    return LoggedEvent(
        event.event_id or uuid.uuid4().hex,
        event.user_id,
        event.item_id,
        event.event_type,
        _time(event, now),
        event.quantity if event.HasField("quantity") else 1.0,
        event.price if event.HasField("price") else None,
        event.session_id,
        event.recommendation_id,
        event.position,
    )


def _live(event: event_pb2.Event, now: int) -> LiveEvent:
    price = event.price if event.HasField("price") else math.nan
    return LiveEvent(event.item_id, EventType(event.event_type), _time(event, now), price, event.session_id)
