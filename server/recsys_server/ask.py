"""``python -m recsys_server.ask``: ask a running server and print what it says, one JSON object a line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message

from recsys.v1 import (
    experiment_service_pb2,
    experiment_service_pb2_grpc,
    recommendation_service_pb2,
    recommendation_service_pb2_grpc,
)

_POLICIES = ("none", "purchased", "seen")


def main(argv: Sequence[str] | None = None) -> int:
    """Ask; the exit status: 0, or 1 when the server refuses or cannot be reached."""
    options = _parser().parse_args(argv)
    with grpc.insecure_channel(options.address) as channel:
        try:
            for response in _responses(channel, options):
                print(_json(response), flush=True)
        except grpc.RpcError as error:
            print(f"ask: {options.address}: {error.code().name}: {error.details()}", file=sys.stderr)
            return 1
    return 0


def _responses(channel: grpc.Channel, options: argparse.Namespace) -> Iterator[Message]:
    if options.assign:
        return _assignments(channel, options)
    if options.similar:
        return _similar(channel, options)
    return _ranked(channel, options) if options.rank else _slates(channel, options)


def _similar(channel: grpc.Channel, options: argparse.Namespace) -> Iterator[Message]:
    request = recommendation_service_pb2.SimilarItemsRequest(
        item_ids=options.similar, slate_size=options.slate_size, exclude_item_ids=options.exclude
    )
    yield recommendation_service_pb2_grpc.RecommendationServiceStub(channel).SimilarItems(
        request, timeout=options.timeout
    )


def _ranked(channel: grpc.Channel, options: argparse.Namespace) -> Iterator[Message]:
    stub = recommendation_service_pb2_grpc.RecommendationServiceStub(channel)
    for user_id in options.users or [""]:
        request = recommendation_service_pb2.RankItemsRequest(user_id=user_id, item_ids=options.rank)
        yield stub.RankItems(request, timeout=options.timeout)


def _slates(channel: grpc.Channel, options: argparse.Namespace) -> Iterator[Message]:
    stub = recommendation_service_pb2_grpc.RecommendationServiceStub(channel)
    for user_id in options.users or [""]:
        request = recommendation_service_pb2.RecommendRequest(
            user_id=user_id,
            slate_size=options.slate_size,
            placement=options.placement,
            seed_item_ids=options.seed,
            exclude_item_ids=options.exclude,
            explain=options.explain,
            exclude_policy=f"EXCLUDE_POLICY_{(options.exclude_policy or 'unspecified').upper()}",
        )
        yield stub.Recommend(request, timeout=options.timeout)


def _assignments(channel: grpc.Channel, options: argparse.Namespace) -> Iterator[Message]:
    stub = experiment_service_pb2_grpc.ExperimentServiceStub(channel)
    for user_id in options.users:
        request = experiment_service_pb2.AssignVariantsRequest(unit_id=user_id)
        yield stub.AssignVariants(request, timeout=options.timeout)


def _json(message: Message) -> str:
    return json_format.MessageToJson(
        message,
        indent=None,
        ensure_ascii=False,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m recsys_server.ask", description=__doc__)
    parser.add_argument("users", nargs="*", metavar="USER", help="none: one anonymous request")
    parser.add_argument("--address", default="127.0.0.1:50051", metavar="HOST:PORT")
    parser.add_argument("--slate-size", type=_size, default=0, metavar="N", help="0: the placement's default")
    parser.add_argument("--placement", default="", metavar="NAME")
    parser.add_argument("--seed", action="append", default=[], metavar="ITEM", help="an item in view; repeatable")
    parser.add_argument("--exclude", action="append", default=[], metavar="ITEM", help="repeatable")
    parser.add_argument("--exclude-policy", choices=_POLICIES, help="default: the placement's")
    parser.add_argument("--explain", action="store_true", help="with the reasons for each item's place")
    parser.add_argument("--similar", nargs="+", metavar="ITEM", help="ask for items like these instead of slates")
    parser.add_argument("--rank", nargs="+", metavar="ITEM", help="ask for the users' order of these instead of slates")
    parser.add_argument("--assign", action="store_true", help="ask for the users' variants instead of slates")
    parser.add_argument("--timeout", type=float, default=5.0, metavar="SECONDS")
    return parser


def _size(text: str) -> int:
    try:
        if abs(number := int(text)) < 2**31:
            return number
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a number that a request can say")


if __name__ == "__main__":
    sys.exit(main())
