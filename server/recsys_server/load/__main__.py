"""``python -m recsys_server.load ADDRESS``: ask a server again and again, read every answer, print a line of JSON.

With --rate calls come at random times, whatever the server does (open loop); latency counts from the time a call was
due. Without it the next call follows an answer (closed loop). Users are u00000000 and on, as `recsys bench serve` names
them.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import selectors
import sys
from collections.abc import Sequence
from typing import Any

from recsys_server.load import loops, plan, verdict
from recsys_server.load.loops import Target

FASTEST = 20_000
"""Calls a second that no server here answers: as many are drawn for a closed loop."""


def main(argv: Sequence[str] | None = None) -> int:
    """Ask; the exit status: 0, or 1 when nobody listens."""
    options = _parser().parse_args(argv)
    gc.disable()  # nothing here is garbage until the end, and a collection would look like the server's latency
    try:
        # select takes microseconds where epoll takes milliseconds.
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
            result = runner.run(_run(options))
    except OSError as error:
        print(f"load: {options.address}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result))
    return 0


async def _run(options: argparse.Namespace) -> dict[str, Any]:
    crowd = plan.Crowd(options.users, options.items, options.unknown, options.seed)
    target = Target(options.address, options.connections, options.timeout, options.warm_up, options.pid)
    whole = options.warm_up + options.seconds
    if options.rate:
        asked = plan.opened(crowd, options.rate, options.events, whole)
        calls = await loops.at_times(target, asked, options.seconds)
    else:
        calls = await loops.in_turn(target, plan.closed(crowd, int(FASTEST * whole)), options.seconds, options.depth)
    result = verdict.figures(calls, options.timeout, check=not options.unchecked)
    if options.again and not options.unchecked:
        numbers = verdict.worth_asking_again(calls, options.again)
        again = await loops.alone(target, calls, numbers)
        compared, other = verdict.judged_again(calls, again, numbers)
        result |= {"asked_again": compared, "not_their_own": other}
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m recsys_server.load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("--rate", type=float, default=0.0, help="calls a second; default: as many as are answered")
    parser.add_argument("--depth", type=int, default=1, metavar="N", help="closed: calls on a connection, default 1")
    parser.add_argument("--events", type=float, default=0.0, metavar="RATE", help="open: events recorded a second")
    parser.add_argument("--seconds", type=float, default=10.0, help="that count, default 10")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds before those, default 1")
    parser.add_argument("--timeout", type=float, default=0.2, help="seconds that a call may take, default 0.2")
    parser.add_argument("--connections", type=int, default=16, metavar="N", help="default 16")
    parser.add_argument("--users", type=int, default=10_000_000, metavar="N", help="known users, default 10,000,000")
    parser.add_argument("--items", type=int, default=100_000, metavar="N", help="of events, default 100,000")
    parser.add_argument("--unknown", type=float, default=0.1, metavar="SHARE", help="of unknown users, default 0.1")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--pid", type=int, default=0, help="also tell the CPU time of this process")
    parser.add_argument("--again", type=int, default=0, metavar="N", help="users who ask again, alone, at the end")
    parser.add_argument("--unchecked", action="store_true", help="the answers are no slates: do not read them")
    return parser


if __name__ == "__main__":
    sys.exit(main())
