"""``python -m recsys_server.record``: send events to a running server, and print the id of each one that it keeps.

Reads JSON objects, one a line, with the fields of recsys.v1.Event, such as
{"user_id": "u1", "item_id": "i7", "event_type": "EVENT_TYPE_PURCHASE"}. What was not printed may be sent again.
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import grpc
from google.protobuf import json_format

from recsys.arguments import count
from recsys.v1 import event_pb2, event_service_pb2, event_service_pb2_grpc


def main(argv: Sequence[str] | None = None) -> int:
    """Send all lines of stdin; the exit status: 0, or 1 when an event or a call is refused or nobody answers."""
    options = _parser().parse_args(argv)
    status = 0
    with grpc.insecure_channel(options.address) as channel:
        stub = event_service_pb2_grpc.EventServiceStub(channel)
        try:
            for events in _batches(sys.stdin, options.batch):
                response = stub.RecordEvents(events, timeout=options.timeout)
                refused = {rejection.index: rejection.reason for rejection in response.rejections}
                status |= _tell(events, refused)
        except grpc.RpcError as error:
            print(f"record: {options.address}: {error.code().name}: {error.details()}", file=sys.stderr)
            return 1
        except (json.JSONDecodeError, json_format.ParseError) as error:
            print(f"record: {error}", file=sys.stderr)
            return 1
    return status


def _batches(lines: Iterable[str], size: int) -> Iterator[event_service_pb2.RecordEventsRequest]:
    rest = iter(lines)
    while batch := list(islice(rest, size)):
        yield event_service_pb2.RecordEventsRequest(events=map(_event, batch))


def _event(line: str) -> event_pb2.Event:
    """The event of a line; it gets its id here, where it would be sent again."""
    event = json_format.ParseDict(json.loads(line), event_pb2.Event())
    event.event_id = event.event_id or uuid.uuid4().hex
    return event


def _tell(request: event_service_pb2.RecordEventsRequest, refused: dict[int, str]) -> int:
    kept = [event.event_id for index, event in enumerate(request.events) if index not in refused]
    print("".join(f"{event_id}\n" for event_id in kept), end="", flush=True)
    for index, reason in refused.items():
        print(f"record: {request.events[index].event_id}: {reason}", file=sys.stderr)
    return 1 if refused else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m recsys_server.record", description=__doc__)
    parser.add_argument("--address", default="127.0.0.1:50051", metavar="HOST:PORT")
    parser.add_argument("--batch", type=count, default=100, metavar="N", help="events of one call, default %(default)s")
    parser.add_argument("--timeout", type=float, default=5.0, metavar="SECONDS")
    return parser


if __name__ == "__main__":
    sys.exit(main())
