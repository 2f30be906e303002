"""``python -m recsys_server.echo``: the least that a gRPC server can do, to compare with.

The same library and options as the server's; every Recommend is answered with the same bytes. By gRPC's asyncio
interface, on the server's loop; with --bare as the server takes its calls, from the core's completion queue.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc
import uvloop

from recsys_server.front import OPTIONS
from recsys_server.front.calls import Calls

SERVICE = "recsys.v1.RecommendationService"
_OPTIONS = (*OPTIONS, ("grpc.so_reuseport", 0))


async def serve(listen: str, size: int) -> None:
    """Serve until SIGTERM or SIGINT, every answer of so many bytes."""
    server = grpc.aio.server(options=_OPTIONS)
    answer = bytes(size)

    async def call(_: bytes, __: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return answer

    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Recommend": grpc.unary_unary_rpc_method_handler(call)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = server.add_insecure_port(listen)
    await server.start()
    _announce(listen, port, size)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await server.stop(0.1)


def serve_bare(listen: str, size: int) -> None:
    """The same without asyncio, until a signal ends the process."""
    server = grpc.server(ThreadPoolExecutor(1), options=_OPTIONS)
    answer = bytes(size)

    def came(number: int, *_: object) -> None:
        calls.answer(number, answer)

    calls = Calls(server, [f"/{SERVICE}/Recommend"], came, lambda _: None, lambda: None)
    port = server.add_insecure_port(listen)
    server.start()
    _announce(listen, port, size)
    calls.run()


def _announce(listen: str, port: int, size: int) -> None:
    gc.collect()
    gc.freeze()
    print(f"echo of {size} bytes on {listen.rpartition(':')[0]}:{port}, metrics on none", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m recsys_server.echo", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument("--bytes", type=int, default=1_500, metavar="N", help="of an answer, default %(default)s")
    parser.add_argument("--bare", action="store_true", help="as the server takes its calls")
    options = parser.parse_args(argv)
    if options.bare:
        serve_bare(options.listen, options.bytes)
    else:
        uvloop.run(serve(options.listen, options.bytes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
