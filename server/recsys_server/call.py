"""``python -m recsys_server.call HOST:PORT ...``: make the calls that stdin names, one JSON object a line.

A line such as {"method": "EventService.RecordEvents", "request": {...}, "server": 1} goes to the second address;
without "server" it goes to the first. Each answer is a line of JSON, in the order of the calls; a call that is refused
is answered by {"error": ...}.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from recsys_server.front.methods import SERVICES

METHODS: dict[str, MethodDescriptor] = {
    f"{service.name}.{method.name}": method for service in SERVICES for method in service.methods
}
Call = Callable[[dict[str, Any]], dict[str, Any]]


def main(argv: Sequence[str] | None = None) -> int:
    """Make the calls; the exit status: 0, or 1 when a line is not a call or a server cannot be reached."""
    options = _parser().parse_args(argv)
    channels = [grpc.insecure_channel(address) for address in options.addresses]
    try:
        for answer in _answers(channels, options.timeout):
            print(json.dumps(answer, ensure_ascii=False), flush=True)
    except (KeyError, IndexError, TypeError, json.JSONDecodeError, json_format.ParseError) as error:
        print(f"call: no such call: {error!r}; see python -m recsys_server.call --help", file=sys.stderr)
        return 1
    except grpc.RpcError as error:
        print(f"call: {error.code().name}: {error.details()}", file=sys.stderr)
        return 1
    finally:
        for channel in channels:
            channel.close()
    return 0


def _answers(channels: Sequence[grpc.Channel], timeout: float) -> Iterator[dict[str, Any]]:
    made: dict[tuple[int, str], Call] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        key = (asked.get("server", 0), asked["method"])
        if key not in made:
            made[key] = _call(channels[key[0]], METHODS[key[1]], timeout)
        yield made[key](asked["request"])


def _call(channel: grpc.Channel, method: MethodDescriptor, timeout: float) -> Call:
    """A function from the JSON of a request to that of its response."""
    request_type, response_type = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    send = channel.unary_unary(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=request_type.SerializeToString,
        response_deserializer=response_type.FromString,
    )

    def call(request: dict[str, Any]) -> dict[str, Any]:
        try:
            response = send(json_format.ParseDict(request, request_type()), timeout=timeout)
        except grpc.RpcError as error:
            if error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
                raise
            return {"error": f"{error.code().name}: {error.details()}"}
        answer: dict[str, Any] = json_format.MessageToDict(response, preserving_proto_field_name=True)
        return answer

    return call


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m recsys_server.call", description=__doc__)
    parser.add_argument("addresses", nargs="+", metavar="HOST:PORT")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS")
    return parser


if __name__ == "__main__":
    sys.exit(main())
