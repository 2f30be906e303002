"""The process that speaks gRPC, beside the one that answers: between them go frames over a socket.

In one process the two would pass the interpreter's lock to and fro, which costs as much as their work.
"""

MAX_MESSAGE_BYTES = 1024 * 1024
"""Of a request."""
