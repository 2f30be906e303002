"""``python -m recsys_server.echo``: the least that a gRPC server of this kind can do, to compare with.

The same library, options and loop as the server's; every Recommend is answered with the same bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import sys
from collections.abc import Sequence

import grpc
import uvloop

from recsys_server.front import OPTIONS

SERVICE = "recsys.v1.RecommendationService"


async def serve(listen: str, size: int) -> None:
    """Serve until SIGTERM or SIGINT, every answer of so many bytes."""
    server = grpc.aio.server(options=(*OPTIONS, ("grpc.so_reuseport", 0)))
    answer = bytes(size)

    async def call(_: bytes, __: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return answer

    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Recommend": grpc.unary_unary_rpc_method_handler(call)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = server.add_insecure_port(listen)
    await server.start()
    gc.collect()
    gc.freeze()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(f"echo of {size} bytes on {listen.rpartition(':')[0]}:{port}, metrics on none", flush=True)
    await stop.wait()
    await server.stop(0.1)


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m recsys_server.echo", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument("--bytes", type=int, default=1_500, metavar="N", help="of an answer, default %(default)s")
    options = parser.parse_args(argv)
    uvloop.run(serve(options.listen, options.bytes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
