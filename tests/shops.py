"""Small shops on disk whose right answer is known, and the commands that work on them."""

import io
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from recsys import bundle
from recsys.config import Config
from recsys.recommender import Recommender
from recsys.registry import Registry
from recsys_offline import cli, directory
from recsys_offline.jobs import train_bundle

DAY = 86_400
START = 1_704_067_200
"""2024-01-01T00:00:00Z."""

SHOP = (600, 200, 60, 3)
"""Users, items, days and seed of the simulated shop of the fixtures."""
SHOP_UNTIL = "2024-02-20"

CYCLE_USERS, CYCLE_DAYS, CYCLE = 400, 48, 6
CYCLE_UNTIL = "2024-02-18"

Row = tuple[str | None, str, str, int]
"""User, item, event type, unix seconds."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left: its status and what it printed."""

    status: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line of stdout."""
        return self.out.splitlines()[-1]


def recsys(*arguments: object) -> Done:
    """Run a command in this process; an exception that a user would see as a traceback comes out of here."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = int(end.code or 0)
    return Done(status, out.getvalue(), err.getvalue())


def command(*arguments: object) -> list[str]:
    """The command line of a real process."""
    return [sys.executable, "-m", "recsys_offline.cli", *map(str, arguments)]


def process(*arguments: object) -> Done:
    """Run a command as a real process."""
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=300)
    return Done(done.returncode, done.stdout, done.stderr)


def train(path: Path, registry: Path, until: int | None = None, **sections: dict[str, object]) -> Recommender:
    """A recommender trained and published in this process."""
    stored = Registry(registry)
    with redirect_stderr(io.StringIO()):
        bundle_id = train_bundle(path, stored, until, Config(**sections))
    return bundle.load(stored.path(bundle_id))


def write(path: Path, rows: Iterable[Row], sessions: Sequence[str | None] | None = None) -> Path:
    """A dataset of events; without times where all are 0."""
    users, items, types, times = zip(*rows, strict=True)
    columns = {"user_id": pa.array(users, pa.string()), "item_id": items, "event_type": types}
    if any(times):
        columns["event_time"] = pa.array(times, pa.timestamp("s", "UTC"))
    if sessions is not None:
        columns["session_id"] = pa.array(sessions, pa.string())
    directory.write(path, pa.table(columns))
    return path


def write_cycles(path: Path) -> Path:
    """Users who buy every second day, each the same six items in turn: the next one is the one bought longest ago.

    No source knows that, as all prefer what is recent; a ranker can see it in the days since the last purchase. One
    purchase in ten is of any item, so that there is something new to find too.
    """
    random = np.random.default_rng(5)
    rows: list[Row] = []
    for user in range(CYCLE_USERS):
        own = random.choice(80, CYCLE, replace=False)
        for day in range(user % 2, CYCLE_DAYS + 2, 2):
            item = own[day // 2 % CYCLE] if random.random() < 0.9 else random.integers(80)
            rows.append((f"u{user:03}", f"i{item:02}", "purchase", START + day * DAY + user * 60))
    return write(path, sorted(rows, key=lambda row: row[3]))
