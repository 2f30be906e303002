"""``recsys bench crash``: a server that records events is killed again and again, and must have kept its word."""

from __future__ import annotations

import json
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import IO, Any

from recsys.errors import DataError
from recsys.event_log import FILE, EventLog
from recsys_offline import dataset
from recsys_offline.bench.quality import machine

USERS, ITEMS, SEED = 1_000, 500, 7
FRESH = 5_000
"""Most new events of a round; most are still on their way when the server is killed."""
AGAIN = 100
"""Acknowledged events that are sent once more in the next round."""
LONGEST_SECONDS = 0.4
_ADDRESS = re.compile(r" on (\S+),")


@dataclass(slots=True)
class Record:
    """What was sent in all rounds, and what of it was acknowledged.

    Attributes:
        sent: the line of JSON of each event, by id.
        acknowledged: ids, in their order.
        cut_short: rounds in which a call failed because its server was killed.
    """

    sent: dict[str, str] = field(default_factory=dict)
    acknowledged: dict[str, None] = field(default_factory=dict)
    cut_short: int = 0

    def next_lines(self, turn: int, draw: random.Random) -> list[str]:
        """Of a round: what nobody acknowledged yet, some of what was, and new events."""
        doubtful = [line for event_id, line in self.sent.items() if event_id not in self.acknowledged]
        again = draw.sample(list(self.acknowledged), min(AGAIN, len(self.acknowledged)))
        fresh = {f"{turn}-{num}": _line(f"{turn}-{num}", draw) for num in range(FRESH - len(doubtful))}
        self.sent |= fresh
        return [*doubtful, *(self.sent[event_id] for event_id in again), *fresh.values()]


def bench(out: Path, kills: int) -> dict[str, Any]:
    """Kill a server so many times, and write to a file what became of the events.

    Raises:
        DataError: the server does not start.
    """
    record, draw, started = Record(), random.Random(SEED), time.monotonic()  # noqa: S311 - no secret
    with tempfile.TemporaryDirectory() as scratch:
        state = Path(scratch, "state")
        for turn in range(kills):
            _round(Path(scratch), record, record.next_lines(turn, draw), draw.uniform(0, LONGEST_SECONDS))
            print(f"\r{turn + 1} kills, {len(record.acknowledged):,} events", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        acknowledged = len(record.acknowledged)
        _round(Path(scratch), record, record.next_lines(kills, draw), None)
        result = {
            "machine": machine(),
            "kills": kills,
            "kills_amid_a_call": record.cut_short,
            "acknowledged_by_killed_servers": acknowledged,
            **judge(state, record),
            "seconds": round(time.monotonic() - started, 1),
        }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def judge(state: Path, record: Record) -> dict[str, Any]:
    """What the log and a training set made of it hold."""
    with closing(EventLog(state)) as log:
        ids = [event.event_id for part in log.scan() for event in part]
    data = dataset.read(state)
    with closing(sqlite3.connect(state / FILE)) as connection:
        (integrity,) = connection.execute("PRAGMA integrity_check").fetchone()
    return {
        "sent": len(record.sent),
        "acknowledged": len(record.acknowledged),
        "acknowledged_and_lost": len(record.acknowledged.keys() - set(ids)),
        "stored": len(ids),
        "stored_twice": len(ids) - len(set(ids)),
        "stored_and_never_sent": len(set(ids) - record.sent.keys()),
        "training_set": len(data.events),
        "file": integrity,
    }


def is_whole(result: dict[str, Any]) -> bool:
    """Whether nothing was lost, and nothing is there that should not be."""
    faults = ("acknowledged_and_lost", "stored_twice", "stored_and_never_sent")
    whole: bool = result["stored"] == result["training_set"] and result["file"] == "ok"
    return whole and not any(result[name] for name in faults)


def lines(result: dict[str, Any]) -> list[str]:
    """The result as lines of text."""
    return [
        "{kills} kills while events were recorded, {kills_amid_a_call} of them amid a call".format(**result),
        "acknowledged: {acknowledged:,}, of them lost: {acknowledged_and_lost}".format(**result),
        "stored: {stored:,}, of them twice: {stored_twice}; in the training set: {training_set:,}".format(**result),
    ]


def _round(scratch: Path, record: Record, lines: list[str], seconds: float | None) -> None:
    """Send lines to a server, which is killed some seconds after its first answer; None: when it has answered all."""
    with _serving(scratch) as (server, address):
        client = _python("recsys_server.record", "--address", address, "--batch", "20", stdin=subprocess.PIPE)
        with client:
            feeding = Thread(target=_feed, args=(client.stdin, lines))
            feeding.start()
            killing = Thread(target=_kill_after, args=(server, seconds)) if seconds is not None else None
            for event_id in _lines_of(client.stdout):
                if killing is not None and killing.ident is None:
                    killing.start()
                record.acknowledged[event_id] = None
            feeding.join()
        record.cut_short += client.returncode != 0
        if killing is not None and killing.ident is not None:
            killing.join()


@contextmanager
def _serving(scratch: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server without a bundle; it is killed at the end."""
    options = ("--registry", str(scratch / "registry"), "--state", str(scratch / "state"))
    with _python("recsys_server", *options, "--listen", "127.0.0.1:0", "--metrics", "") as server:
        try:
            said = next(_lines_of(server.stdout), "")
            found = _ADDRESS.search(said)
            if not found:
                raise DataError(f"the server did not start ({said or 'it said nothing'}); start it by hand to see why")
            yield server, found[1]
        finally:
            server.send_signal(signal.SIGKILL)


def _python(module: str, *options: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", module, *options]
    return subprocess.Popen(  # noqa: S603 - our own
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def _lines_of(stream: IO[str] | None) -> Iterator[str]:
    """Each whole line: the last one of a killed process may be torn."""
    for line in stream or ():
        if line.endswith("\n"):
            yield line[:-1]


def _feed(stream: IO[str], lines: list[str]) -> None:
    try:
        with stream:
            stream.writelines(lines)
    except BrokenPipeError:
        pass  # the client gave up, as its server is gone


def _kill_after(server: subprocess.Popen[str], seconds: float) -> None:
    time.sleep(seconds)
    server.send_signal(signal.SIGKILL)


def _line(event_id: str, draw: random.Random) -> str:
    event = {
        "event_id": event_id,
        "user_id": f"u{draw.randrange(USERS)}",
        "item_id": f"i{draw.randrange(ITEMS)}",
        "event_type": "EVENT_TYPE_VIEW_ITEM",
    }
    return json.dumps(event) + "\n"
