"""A shop's backend that fills a slot on a page: what to copy.

python examples/storefront.py --address 127.0.0.1:50051 --user u1 [--seen-now ITEM ...] [--click ITEM]
"""

from __future__ import annotations

import argparse
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from recsys.v1 import event_pb2, event_service_pb2, event_service_pb2_grpc, recommendation_service_pb2_grpc
from recsys.v1 import recommendation_service_pb2 as pb

# Retries, on UNAVAILABLE only: the server refused before it did any work. Its timeout is a backstop for calls that name
# no deadline; gRPC's C core, and so Python, lets it expire up to a second early (grpc/grpc#34547), hence not below 2 s.
SERVICE_CONFIG = Path(__file__).with_name("service_config.json")

# What the shop shows when there is no answer in time, such as last week's bestsellers from its own database.
BESTSELLERS = ("bestseller-1", "bestseller-2", "bestseller-3")

log = logging.getLogger("storefront")


@dataclass(frozen=True)
class Slot:
    """Items to show, in order.

    Attributes:
        item_ids: best first.
        recommendation_id: keep it with the page: send it back with the clicks and purchases that follow, so that they
            count for this slate. Empty when the slate is the shop's own.
    """

    item_ids: tuple[str, ...]
    recommendation_id: str


class Recommendations:
    """One per process: a channel is safe to share between threads, and connects again by itself."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.service_config", SERVICE_CONFIG.read_text(encoding="utf-8")),
                ("grpc.lb_policy_name", "round_robin"),
            ],
        )
        self._stub = recommendation_service_pb2_grpc.RecommendationServiceStub(self._channel)
        self._events = event_service_pb2_grpc.EventServiceStub(self._channel)

    def connect(self, seconds: float) -> None:
        """Call it when the process starts, so that no page waits for the connection."""
        try:
            grpc.channel_ready_future(self._channel).result(timeout=seconds)
        except grpc.FutureTimeoutError:
            log.warning("no connection yet; the channel keeps trying")

    def slot(self, user_id: str, seen_now: Sequence[str], size: int) -> Slot:
        """The items for a slot. Never raises: a page without recommendations is worse than one with bestsellers.

        Args:
            user_id: empty for a visitor who has not logged in.
            seen_now: the items that the page is about, or that the visitor has just looked at, newest first.
            size: items wanted.
        """
        request = pb.RecommendRequest(user_id=user_id, slate_size=size, placement="default", seed_item_ids=seen_now)
        try:
            # The deadline is the page's: what comes later is of no use, and the server then does not compute it.
            response = self._stub.Recommend(request, timeout=0.25)
        except grpc.RpcError as error:
            log.warning("no recommendations (%s: %s), showing bestsellers", error.code().name, error.details())
            return Slot(BESTSELLERS[:size], "")
        if response.degraded:
            log.info("slate %s is degraded: %s", response.recommendation_id, ", ".join(response.degraded))
        return Slot(tuple(item.item_id for item in response.items), response.recommendation_id)

    def clicked(self, user_id: str, item_id: str, slot: Slot) -> None:
        """Tell of a click: the user's next slot knows it. Never raises: a lost click must not break the page."""
        position = slot.item_ids.index(item_id) + 1 if item_id in slot.item_ids else 0
        event = event_pb2.Event(
            event_id=uuid.uuid4().hex,  # made here, so that the call can be repeated
            user_id=user_id,
            item_id=item_id,
            event_type=event_pb2.EVENT_TYPE_SELECT_ITEM,
            recommendation_id=slot.recommendation_id,
            position=position,
        )
        try:
            answer = self._events.RecordEvents(event_service_pb2.RecordEventsRequest(events=[event]), timeout=1)
        except grpc.RpcError as error:
            log.warning("a click is lost (%s: %s)", error.code().name, error.details())
            return
        for rejection in answer.rejections:
            log.warning("a click is refused: %s", rejection.reason)


def main() -> None:
    """Fill one slot and print it; after a click once more."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="127.0.0.1:50051")
    parser.add_argument("--user", default="", help="empty: a visitor who has not logged in")
    parser.add_argument("--seen-now", nargs="*", default=[], metavar="ITEM")
    parser.add_argument("--click", default="", metavar="ITEM", help="tell of a click on it, and fill the slot again")
    parser.add_argument("--size", type=int, default=10)
    options = parser.parse_args()
    logging.basicConfig(format="%(levelname)s %(message)s")
    recommendations = Recommendations(options.address)
    recommendations.connect(seconds=2)
    slot = recommendations.slot(options.user, options.seen_now, options.size)
    if options.click:
        recommendations.clicked(options.user, options.click, slot)
        slot = recommendations.slot(options.user, options.seen_now, options.size)
    for rank, item_id in enumerate(slot.item_ids, start=1):
        print(f"{rank:>3}  {item_id}")
    print(f"recommendation_id: {slot.recommendation_id or '(bestsellers)'}")


if __name__ == "__main__":
    main()
