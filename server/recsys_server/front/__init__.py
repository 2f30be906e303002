"""The process that speaks gRPC, beside the one that answers: between them go frames over a socket.

In one process the two would pass the interpreter's lock to and fro, which costs as much as their work.
"""

MAX_MESSAGE_BYTES = 1024 * 1024
"""Of a request."""
FEW_PENDING, MOST_PENDING = 128, 256
"""Calls that came and have not been looked at: below the first number gRPC cancels none of them, above the second all,
in between some. Where more come than can even be refused, all would else wait until their clients give up."""
OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.server.max_pending_requests", FEW_PENDING),
    ("grpc.server.max_pending_requests_hard_limit", MOST_PENDING),
)
"""Of a gRPC server."""
