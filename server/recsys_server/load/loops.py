"""The two ways to ask: at times of one's own, whatever the server does, or as soon as it has answered."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recsys.types import Float64s
from recsys_server.load.connection import LOST, Connection
from recsys_server.load.plan import Plan

BEHIND = 32
"""Calls that are sent in a row when they are late, before answers are read again."""
RETRY_SECONDS = 0.1
"""Before a refused caller of a closed loop asks again, as good clients do."""
_UTIME = 11
"""Place of the user's time in /proc/PID/stat, counted from behind the name."""


@dataclass(slots=True, eq=False)
class Calls:
    """What became of the calls of a plan.

    Attributes:
        plan: the calls.
        since: float64[n], seconds on the clock from which a call's latency counts; NaN where it was never due.
        late: float64[n], seconds between that and its sending.
        until: float64[n], when it ended; NaN where it did not.
        codes: status codes, by number; empty where there is none yet.
        bodies: the messages that came back.
        window: start and end of the time that counts.
        cpu: CPU seconds of the watched process at these, and those of the processes that it started; 0 where none is
            watched.
    """

    plan: Plan
    since: Float64s
    late: Float64s
    until: Float64s
    codes: list[str]
    bodies: list[bytes]
    window: tuple[float, float] = (0.0, 0.0)
    cpu: list[tuple[float, float]] = field(default_factory=list)

    @classmethod
    def of(cls, plan: Plan) -> Calls:
        """Before the first call."""
        since, late, until = (np.full(len(plan), np.nan) for _ in range(3))
        return cls(plan, since, late, until, [""] * len(plan), [b""] * len(plan))

    @property
    def under_way(self) -> bool:
        """Whether a call was sent and has not ended."""
        return bool((np.isnan(self.until) & ~np.isnan(self.since)).any())

    def ended(self, number: int, code: str, body: bytes) -> None:
        """One call came to its end."""
        self.until[number] = time.perf_counter()
        self.codes[number], self.bodies[number] = code, body


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to ask, and how.

    Attributes:
        address: host:port.
        connections: over which calls are spread.
        timeout: seconds that a call may take.
        warm_up: seconds at the start that do not count.
        pid: process whose CPU time is told; 0: none.
    """

    address: str
    connections: int
    timeout: float
    warm_up: float
    pid: int

    @property
    def wire_timeout(self) -> bytes:
        """As gRPC writes it."""
        return b"%dm" % round(self.timeout * 1000)


async def at_times(target: Target, plan: Plan, seconds: float) -> Calls:
    """Send each call at its time; latency counts from that, not from when the sender got round to it."""
    calls = Calls.of(plan)
    connections = await connect(target, calls.ended)
    start = time.perf_counter()
    watching = asyncio.create_task(_watch(target, calls, start, seconds))
    timeout, due = target.wire_timeout, (start + plan.due).tolist()
    for number, moment in enumerate(due):
        wait = moment - time.perf_counter()
        if wait > 0 or number % BEHIND == 0:
            await asyncio.sleep(max(wait, 0))
        calls.since[number], calls.late[number] = moment, time.perf_counter() - moment
        connections[number % len(connections)].send(number, plan.paths[number], timeout, plan.messages[number])
    await watching
    await _settle(calls, target.timeout)
    _close(connections)
    return calls


async def in_turn(target: Target, plan: Plan, seconds: float, depth: int) -> Calls:
    """Keep so many calls under way on each connection until the time is over, or the plan; who is refused waits."""
    calls, loop = Calls.of(plan), asyncio.get_running_loop()
    numbers = iter(range(len(plan)))
    sending = True

    def next_call() -> None:
        number = next(numbers, None)
        if sending and number is not None:
            calls.since[number], calls.late[number] = time.perf_counter(), 0
            connections[number % len(connections)].send(
                number, plan.paths[number], target.wire_timeout, plan.messages[number]
            )

    def ended(number: int, code: str, body: bytes) -> None:
        calls.ended(number, code, body)
        if code == "OK":
            next_call()
        elif code != LOST:
            loop.call_later(RETRY_SECONDS, next_call)

    connections = await connect(target, ended)
    start = time.perf_counter()
    for _ in range(depth * len(connections)):
        next_call()
    await _watch(target, calls, start, seconds)
    sending = False
    await _settle(calls, target.timeout)
    _close(connections)
    return calls


async def alone(target: Target, calls: Calls, numbers: list[int]) -> Calls:
    """Make some calls once more, one after the other."""
    again = Calls.of(calls.plan.some(numbers))
    answered = asyncio.Event()

    def ended(number: int, code: str, body: bytes) -> None:
        again.ended(number, code, body)
        answered.set()

    connection, *others = await connect(target, ended)
    for number in range(len(again.plan)):
        answered.clear()
        again.since[number], again.late[number] = time.perf_counter(), 0
        connection.send(number, again.plan.paths[number], target.wire_timeout, again.plan.messages[number])
        await answered.wait()
    _close([connection, *others])
    return again


async def connect(target: Target, done: Callable[[int, str, bytes], None]) -> list[Connection]:
    """The connections, ready to send.

    Raises:
        OSError: nobody listens there.
    """
    host, _, port = target.address.rpartition(":")
    loop = asyncio.get_running_loop()
    made: list[Any] = [
        await loop.create_connection(lambda: Connection(target.address, done), host, int(port))
        for _ in range(target.connections)
    ]
    return [protocol for _, protocol in made]


async def _watch(target: Target, calls: Calls, start: float, seconds: float) -> None:
    """Note the CPU time at the start and the end of the time that counts."""
    calls.window = (start + target.warm_up, start + target.warm_up + seconds)
    for moment in calls.window:
        await asyncio.sleep(moment - time.perf_counter())
        calls.cpu.append(cpu_seconds(target.pid))


async def _settle(calls: Calls, timeout: float) -> None:
    """Wait for what is under way, as long as it may take and a little longer."""
    last = time.perf_counter() + timeout + 1
    while calls.under_way and time.perf_counter() < last:  # noqa: ASYNC110 - an event would cost every answer something
        await asyncio.sleep(0.02)


def _close(connections: list[Connection]) -> None:
    for connection in connections:
        connection.close()


def cpu_seconds(pid: int) -> tuple[float, float]:
    """CPU time that a process has used, and that of the processes it started and theirs; 0 for no process.

    Raises:
        OSError: it does not run.
    """
    if not pid:
        return 0.0, 0.0
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    own = (int(fields[_UTIME]) + int(fields[_UTIME + 1])) / os.sysconf("SC_CLK_TCK")
    return own, sum(sum(cpu_seconds(child)) for child in children(pid))


def children(pid: int) -> list[int]:
    """The processes that the first thread of a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
