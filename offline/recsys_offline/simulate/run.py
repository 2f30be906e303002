"""From a seed to a dataset directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from recsys.errors import DataError
from recsys.types import EventType, Int64s
from recsys_offline.directory import staged
from recsys_offline.simulate.events import EventRows, make_events
from recsys_offline.simulate.report import SimulationReport, headline
from recsys_offline.simulate.world import World
from recsys_offline.simulate.write import users_table, write_events, write_items

USERS_PER_PART = 10_000
_LIMITS = {"users": 10**8, "items": 10**6, "days": 3650, "seed": 2**63}


def simulate(
    out: Path, users: int, items: int, days: int, seed: int, progress: Callable[[int, int], None] | None = None
) -> SimulationReport:
    """Write the dataset of a simulated shop; the same arguments give the same bytes.

    Users are made in parts of 10,000, so that memory does not grow with their number. A shop with more users holds
    the same events of the users that it shares with a smaller one.

    Args:
        out: the dataset directory; an older dataset there is replaced once the new one is complete.
        users: 1 to 10^8.
        items: 1 to 10^6.
        days: length of the period, 1 to 3650, from 2024-01-01.
        seed: 0 to 2^63.
        progress: called with the users done and the users in all.

    Raises:
        DataError: a number is out of range, or ``out`` cannot be used.
    """
    _check(users=users, items=items, days=days, seed=seed)
    with staged(out) as folder:
        world = World.of(items, days, seed)
        write_items(folder / "items.parquet", world)
        counts, active, repeats = _write_users(folder, world, users, progress)
        return SimulationReport(
            users=users,
            items=items,
            days=days,
            seed=seed,
            parts=-(-users // USERS_PER_PART),
            counts={event_type: int(counts[event_type]) for event_type in EventType},
            active_users=active,
            repeat_purchases=repeats,
            headline=headline(world, users),
        )


def _check(**given: int) -> None:
    """Raise DataError for the first number out of range."""
    for name, number in given.items():
        least = 0 if name == "seed" else 1
        most = _LIMITS[name]
        if not least <= number <= most:
            raise DataError(f"--{name} {number}: give a number from {least} to {most}")


def _write_users(
    folder: Path, world: World, users: int, progress: Callable[[int, int], None] | None
) -> tuple[Int64s, int, int]:
    """Write users.parquet and all events; returns events by type, active users and repeat purchases."""
    counts, active, repeats = np.zeros(len(EventType) + 1, dtype=np.int64), 0, 0
    with pq.ParquetWriter(folder / "users.parquet", users_table(world.users(np.arange(0))).schema,
                          compression="zstd", store_schema=False) as writer:  # fmt: skip
        for start in range(0, users, USERS_PER_PART):
            stop = min(start + USERS_PER_PART, users)
            chunk = world.users(np.arange(start, stop))
            writer.write_table(users_table(chunk))
            events = make_events(world, chunk)
            write_events(_part(folder, start // USERS_PER_PART, users), events, chunk)
            counts += np.bincount(events.event_type, minlength=len(counts))
            active += len(np.unique(events.user_row))
            repeats += _repeats(events, len(world.items))
            if progress:
                progress(stop, users)
    return counts, active, repeats


def _part(folder: Path, number: int, users: int) -> Path:
    """Where a part of the events goes: a single one needs no folder."""
    if users <= USERS_PER_PART:
        return folder / "events.parquet"
    (folder / "events").mkdir(exist_ok=True)
    return folder / "events" / f"part-{number:05d}.parquet"


def _repeats(events: EventRows, n_items: int) -> int:
    """Purchases of an item that the user had bought before."""
    bought = events.event_type == EventType.PURCHASE
    pairs = events.user_row[bought] * n_items + events.item_num[bought]
    return len(pairs) - len(np.unique(pairs))
