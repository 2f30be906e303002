"""``recsys bench serve``: what an answer costs at scale, beside the least that a server of this kind can do.

Echo servers of the same library and servers of one bundle take turns under the same load generator; a figure is the
median of all rounds. How each is measured stands in docs/decisions/0011-serving-bench.md.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recsys.errors import RecsysError
from recsys.registry import Registry
from recsys_offline.bench import exactness
from recsys_offline.bench.quality import machine
from recsys_offline.bench.scale import SEED, Size, registry_of
from recsys_offline.bench.serve_table import STEADY, STEADY_EVENTS
from recsys_offline.server_process import Running, running

RATE = 1_000
"""Requests a second that are promised."""
LOADS = (0.5, 0.8, 1.2, 2.0)
"""Shares of the capacity that are asked for: of that of the same round."""
STEADY_SHARE = 0.8
"""Of the capacity: events flow beside the promised rate, or beside so much where that is less."""
EVENTS_RATE = 500
PAIRS = 4
"""Of a round: loads without events and with them, each first by turns, as the machine changes more from one minute to
the next than events change anything."""
WORKERS = 2
UNKNOWN = 0.1
MANY = ("--depth", 4)
"""Of a closed loop: 64 calls under way on 16 connections, where there is usually one on each."""
LOOK_RATE, LOOK_SECONDS = 20, 1.0
"""To see how long an answer is."""
ASKED_AGAIN = 50
UNCACHED = "[cache]\nuser_mib = 0\npopular_mib = 0\n"
_METRICS = re.compile(r"metrics on (\S+)")
_ADDRESS = re.compile(r" on (\S+),")
_STAGE = re.compile(r'^recsys_stage_duration_seconds_sum\{stage="(\w+)"\} (\S+)$', re.MULTILINE)
_ANON = re.compile(r"^Pss_Anon:\s+(\d+) kB$", re.MULTILINE)

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Effort:
    """How long it is measured: rounds, and seconds of each load in a round."""

    rounds: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Servers:
    """Those that take turns.

    Two echoes, by gRPC's asyncio interface and one that takes calls as the server does, and servers: without caches, of
    two workers without, with caches, and with a state directory without.
    """

    echo: Running
    bare_echo: Running
    uncached: Running
    workers: Running
    cached: Running
    stateful: Running


@dataclass(frozen=True, slots=True)
class Loader:
    """Runs the load generator on servers of a bundle of some size."""

    size: Size
    seconds: float

    def __call__(self, server: Running, *options: str | float, unknown: float = UNKNOWN) -> Figures:
        """The figures of one load, as the generator tells them.

        Raises:
            RecsysError: it failed.
        """
        given = {
            "seconds": self.seconds,
            "users": self.size.users,
            "items": self.size.items,
            "unknown": unknown,
            "warm-up": min(1.0, self.seconds / 4),
            "pid": server.process.pid,
        }
        command = [sys.executable, "-m", "recsys_server.load", server.address, *map(str, options)]
        command += [part for name, value in given.items() for part in (f"--{name}", str(value))]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 - our own
        if done.returncode:
            raise RecsysError("the load generator failed; see above")
        figures: Figures = json.loads(done.stdout)
        return figures


def bench(out: Path, cache: Path, sizes: Sequence[Size], effort: Effort) -> Figures:
    """Measure bundles of some sizes, and write the figures to a file.

    Raises:
        RecsysError: a server does not start, or the load generator fails.
    """
    tables = [_measure(registry_of(cache, size), size, effort) for size in sizes]
    result = {"machine": machine(), "seed": SEED, "promised": RATE, **asdict(effort), "tables": tables}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def _measure(registry: Registry, size: Size, effort: Effort) -> Figures:
    """All figures of one bundle."""
    made = exactness.measure(registry)
    with tempfile.TemporaryDirectory(prefix="recsys-bench-") as scratch:
        options = ("--registry", registry.root)
        starts = [_start_seconds(options, Path(scratch)) for _ in range(effort.rounds)]
        with _servers(options, Path(scratch)) as servers:
            load = Loader(size, effort.seconds)
            # So that users who did something lately are in both series.
            load(servers.stateful, "--rate", RATE, "--events", EVENTS_RATE)
            rounds, pairs = [], []
            for turn in range(effort.rounds):
                rounds.append(_round(load, servers, turn))
                pairs += _pairs(load, servers, turn, _capacity(rounds[-1]))
            memory = {name: _pss_anon_mib(getattr(servers, name).process.pid) for name in Servers.__slots__}
    return {
        **asdict(size),
        "bundle": made,
        "start_seconds": starts,
        "pss_anon_mib": memory,
        "rounds": rounds,
        "pairs": pairs,
    }


def _round(load: Loader, servers: Servers, turn: int) -> dict[str, Figures]:
    """Each load once: the echoes' and the server's in turn."""
    print(f"round {turn + 1}", file=sys.stderr, flush=True)
    seed, echo, bare, uncached = ("--seed", turn), servers.echo, servers.bare_echo, servers.uncached
    again = ("--again", ASKED_AGAIN)
    closed = {
        "echo, closed": load(echo, "--unchecked", *seed),
        "server, closed, known users": _staged(load, uncached, *seed, *again, unknown=0.0),
        "bare echo, closed": load(bare, "--unchecked", *seed),
        "echo, 64 calls": load(echo, "--unchecked", *seed, *MANY),
        "server, 64 calls, known users": load(uncached, *seed, *again, *MANY, unknown=0.0),
        "server, closed": load(uncached, *seed, *again),
        f"{WORKERS} workers, closed": load(servers.workers, *seed, *again),
        "cached, closed": load(servers.cached, *seed),
    }
    capacity = _capacity(closed)
    return closed | {
        f"echo, {RATE}/s": load(echo, "--unchecked", *seed, "--rate", RATE),
        f"server, {RATE}/s": _staged(load, uncached, *seed, *again, "--rate", RATE),
        f"bare echo, {RATE}/s": load(bare, "--unchecked", *seed, "--rate", RATE),
        f"{WORKERS} workers, {RATE}/s": load(servers.workers, *seed, *again, "--rate", RATE),
        f"cached, {RATE}/s": load(servers.cached, *seed, "--rate", RATE),
        **{
            f"server, {share:.0%} of capacity": load(uncached, *seed, *again, "--rate", share * capacity)
            for share in LOADS
        },
    }


def _pairs(load: Loader, servers: Servers, turn: int, capacity: float) -> list[dict[str, Figures]]:
    """The server with a state directory, without events and with them, several times in a round."""
    rate = ("--rate", min(RATE, STEADY_SHARE * capacity))
    pairs = []
    for place in range(turn * PAIRS, (turn + 1) * PAIRS):
        options = {STEADY: ("--again", ASKED_AGAIN), STEADY_EVENTS: ("--events", EVENTS_RATE)}
        order = [STEADY, STEADY_EVENTS] if place % 2 == 0 else [STEADY_EVENTS, STEADY]
        pairs.append({name: load(servers.stateful, "--seed", place, *rate, *options[name]) for name in order})
    return pairs


def _capacity(loads: dict[str, Figures]) -> float:
    """Answers a second of the server in a round."""
    return float(loads["server, closed"]["whole_per_second"])


def _staged(load: Loader, server: Running, *options: str | float, unknown: float = UNKNOWN) -> Figures:
    """The figures of a load, with the seconds that its batches spent in each stage."""
    before = _stage_seconds(server)
    figures = load(server, *options, unknown=unknown)
    after = _stage_seconds(server)
    return figures | {"stage_seconds": {stage: round(after[stage] - before.get(stage, 0.0), 4) for stage in after}}


def _stage_seconds(server: Running) -> dict[str, float]:
    found = _METRICS.search(server.line)
    with urllib.request.urlopen(f"http://{found[1] if found else ''}/metrics", timeout=10) as answer:
        return {stage: float(seconds) for stage, seconds in _STAGE.findall(answer.read().decode())}


def _start_seconds(options: tuple[str | Path, ...], scratch: Path) -> float:
    """From the command to the line that says it serves."""
    started = time.monotonic()
    with running(options, scratch / "start.log"):
        return round(time.monotonic() - started, 2)


@contextmanager
def _servers(options: tuple[str | Path, ...], scratch: Path) -> Iterator[Servers]:
    """All of them, idle; the echoes' answers are as long as the server's."""
    config = scratch / "uncached.toml"
    config.write_text(UNCACHED, encoding="utf-8")
    with ExitStack() as stack:

        def start(name: str, *more: str | Path) -> Running:
            log = scratch / f"{name}.log"
            return stack.enter_context(running((*options, *more), log, metrics="127.0.0.1:0"))

        uncached = start("uncached", "--config", config)
        workers = start("workers", "--config", config, "--workers", str(WORKERS))
        cached = start("cached")
        stateful = start("stateful", "--config", config, "--state", scratch / "state")
        usual = Loader(Size(1, 1, 1), LOOK_SECONDS)(uncached, "--rate", LOOK_RATE, "--timeout", 1, unknown=0.0)
        size = ("--bytes", str(round(usual["bytes"])))
        echo, bare_echo = (stack.enter_context(_echo(*size, *more)) for more in ((), ("--bare",)))
        yield Servers(echo, bare_echo, uncached, workers, cached, stateful)


@contextmanager
def _echo(*options: str) -> Iterator[Running]:
    """An echo server."""
    command = [sys.executable, "-m", "recsys_server.echo", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own
    with process:
        try:
            line = process.stdout.readline().strip() if process.stdout else ""
            found = _ADDRESS.search(line)
            if not found:
                raise RecsysError("the echo server did not start; see above")
            yield Running(process, found[1], line)
        finally:
            process.terminate()


def _pss_anon_mib(pid: int) -> float:
    """Memory that is in no file, of a process and those that it started.

    Pages that processes share are divided by their number.
    """
    found = _ANON.search(Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii"))
    own = int(found[1]) / 1024 if found else 0.0
    return round(own + sum(map(_pss_anon_mib, _children(pid))), 1)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
