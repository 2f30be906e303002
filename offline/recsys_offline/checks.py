"""Whether a dataset can be trained on, as named checks that contain the fix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from recsys.errors import DataError
from recsys.interactions import Events
from recsys.types import INTERACTION_TYPES, SECONDS_PER_DAY, EventType
from recsys_offline import dataset
from recsys_offline.dataset import Dataset
from recsys_offline.tables import TableError

# One user with more than this share of all events, where there are at least MANY_USERS of them.
BOT_SHARE = 0.05
MANY_USERS = 100
LEAST_DAYS = 5
"""A day for each of three windows of the ranker, one to learn from before them and one to hold out."""
# 1990: an earlier event comes from a wrong unit or a default date.
EARLIEST_TIME = 631_152_000


class Status(StrEnum):
    """What a check found; only a problem keeps a dataset from being used."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Attributes:
        name: what was looked at, such as ``event types``.
        status: what was found.
        text: the finding with its counts and the first row.
        fix: what to do; empty where nothing is to be done.
    """

    name: str
    status: Status
    text: str
    fix: str = ""

    def line(self) -> str:
        """The result as one line of text."""
        return f"{self.status:<8}{self.name}: {self.text}" + (f"; {self.fix}" if self.fix else "")


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The results of all checks of a dataset."""

    checks: tuple[Check, ...]

    @property
    def usable(self) -> bool:
        """Whether the dataset can be trained on."""
        return all(check.status != Status.PROBLEM for check in self.checks)

    def lines(self) -> list[str]:
        """The report as lines of text, problems last, where they are seen."""
        order = list(Status)
        lines = [check.line() for check in sorted(self.checks, key=lambda check: order.index(check.status))]
        return [*lines, "usable" if self.usable else "not usable: mend the problems above, then check again"]


def check(path: Path, now: int) -> CheckReport:
    """Checks a dataset directory as of a time (unix seconds)."""
    try:
        data = dataset.read(path, now)
    except DataError as error:
        found = dataset.problems(path) or (error,)
        return CheckReport(tuple(_problem(reason) for reason in found))
    return CheckReport(tuple(result for look in CHECKS for result in look(data)))


def _problem(error: DataError) -> Check:
    if isinstance(error, TableError):
        return Check("read", Status.PROBLEM, f"{error.where}: {error.problem}", error.fix)
    return Check("read", Status.PROBLEM, str(error))


def _summary(data: Dataset) -> Iterator[Check]:
    facts = data.facts
    users, items = len(data.users), len(data.items)
    sessions = np.unique(data.events.user_num[data.events.user_num >= users]).size
    text = f"{facts.rows:,} of {facts.rows_read:,} rows kept, {users:,} users, {sessions:,} anonymous sessions"
    yield Check("events", Status.OK, f"{text}, {items:,} items")


def _event_types(data: Dataset) -> Iterator[Check]:
    count = np.bincount(data.events.event_type, minlength=len(EventType) + 1)
    text = ", ".join(f"{count[kind]:,} {kind.word}" for kind in EventType if count[kind])
    wanted = ", ".join(kind.word for kind in INTERACTION_TYPES)
    if not count[list(INTERACTION_TYPES)].any():
        yield Check("event types", Status.PROBLEM, f"{text}: nothing tells taste", f"add events of {wanted}")
    elif not count[EventType.PURCHASE]:
        yield Check("event types", Status.NOTE, f"{text}: no purchase", "lists will aim at the other interactions")
    else:
        yield Check("event types", Status.OK, text)


def _dirt(data: Dataset) -> Iterator[Check]:
    for finding in data.findings:
        yield Check(
            finding.name, Status.NOTE, f"{finding.count:,} {finding.action} (first: {finding.where})", finding.fix
        )
    if not data.findings:
        yield Check("dirt", Status.OK, "no duplicates, gaps, bad prices or future times")


def _times(data: Dataset) -> Iterator[Check]:
    if not data.has_times:
        yield Check("times", Status.NOTE, "none: a static set, whose ranker learns from hidden items", "add event_time")
        return
    facts, time = data.facts, data.events.time
    days = (time[-1] - time[0]) / SECONDS_PER_DAY
    text = f"{facts.start_time} to {facts.end_time}, {days:,.1f} days"
    early = int(np.searchsorted(time, EARLIEST_TIME))
    if early:
        yield Check("times", Status.NOTE, f"{text}: {early:,} events before 1990", "correct event_time of these")
    if days < LEAST_DAYS:
        fix = f"bring at least {LEAST_DAYS} days for the ranker's windows, or expect lists of stage 1"
        yield Check("times", Status.NOTE, f"{text}: short", fix)
    if not early and days >= LEAST_DAYS:
        yield Check("times", Status.OK, text)


def _enough(data: Dataset) -> Iterator[Check]:
    """Users and items with too little to learn from."""
    events = data.events.of_types(INTERACTION_TYPES)
    pairs = np.unique(events.user_num.astype(np.int64) * len(data.items) + events.item_num)
    known = pairs[pairs < len(data.users) * len(data.items)]
    items_of_user = np.bincount(known // len(data.items), minlength=len(data.users))
    users_of_item = np.bincount(pairs % len(data.items), minlength=len(data.items))
    for name, count, other in (("users", items_of_user, "items"), ("items", users_of_item, "users or sessions")):
        few = int(np.count_nonzero(count < 2))
        text = f"{few:,} of {len(count):,} {name} have fewer than two {other}"
        if not len(count):
            yield Check(name, Status.PROBLEM, f"no {name}: all events are of anonymous sessions", "fill user_id")
        elif few == len(count):
            yield Check(name, Status.PROBLEM, text, f"bring a longer time or more {other}: nothing can be learnt")
        elif few:
            yield Check(
                name, Status.NOTE, text, "they get popular items" if name == "users" else "they are rarely shown"
            )
        else:
            yield Check(name, Status.OK, f"all {len(count):,} have two {other} or more")


def _catalogue(data: Dataset) -> Iterator[Check]:
    listed = data.catalogue.listed
    if not listed.any():
        yield Check("items file", Status.NOTE, "none", "add items.parquet for titles, categories and prices")
        return
    strange = ~listed[data.events.item_num]
    count = int(np.count_nonzero(strange))
    if not count:
        yield Check("items file", Status.OK, "has every item of the events")
        return
    first = data.items.id(int(data.events.item_num[np.argmax(strange)]))
    text = f"{count:,} events of {np.count_nonzero(~listed):,} items that it lacks (first: item {first!r})"
    yield Check("items file", Status.NOTE, text, "add these items")


def _bots(data: Dataset) -> Iterator[Check]:
    count = np.bincount(_known(data).user_num, minlength=len(data.users))
    if len(count) < MANY_USERS or not count.any():
        return
    busiest = int(count.argmax())
    share = count[busiest] / count.sum()
    text = f"user {data.users.id(busiest)!r} has {share:.1%} of the events of users"
    if share > BOT_SHARE:
        yield Check("bots", Status.NOTE, text, "leave the user out when it is a robot or a test account")
    else:
        yield Check("bots", Status.OK, f"the busiest {text}")


def _known(data: Dataset) -> Events:
    return data.events.where(data.events.user_num < len(data.users))


CHECKS: tuple[Callable[[Dataset], Iterator[Check]], ...] = (
    _summary,
    _event_types,
    _dirt,
    _times,
    _enough,
    _catalogue,
    _bots,
)
