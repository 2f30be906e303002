"""Answers whose features were kept as they were, to be computed again from the event log and compared."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from recsys.sqlite_files import StateFile, insert, transaction
from recsys.types import EventType, ExcludePolicy, LiveEvent, Query, ServingParameters, Trace

FILE = "samples.db"
_SCHEMA = """
CREATE TABLE samples (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  sample_time INTEGER NOT NULL,
  bundle_id TEXT NOT NULL,
  version INTEGER NOT NULL,
  query TEXT NOT NULL,
  item_ids TEXT NOT NULL,
  features BLOB NOT NULL
);
CREATE INDEX of_time ON samples (sample_time);
"""
_VERSION = 1
_COLUMNS = "sample_time, bundle_id, version, query, item_ids, features"
_APPEND = f"samples ({_COLUMNS})"
_SCAN = f"SELECT {_COLUMNS} FROM samples ORDER BY sequence"  # noqa: S608
_PRUNE = """
DELETE FROM samples WHERE sequence IN (SELECT sequence FROM samples WHERE sample_time < ? LIMIT 1000)
"""
_SCANNED = 500


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer.

    Attributes:
        query: without rules; its live events are those that the request told.
        bundle_id: what answered.
        version: of the user's state in the event log: the last sequence number that the answer knew.
        trace: what it was made of.
    """

    query: Query
    bundle_id: str
    version: int
    trace: Trace


class SampleLog(StateFile):
    """The log in a state directory; one thread at a time may use an object, any number of objects one directory.

    Args:
        directory: made where it is missing.

    Raises:
        StateError: it cannot be used; so say all methods.
    """

    __slots__ = ()

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / FILE, _SCHEMA, _VERSION, durable=False)

    def append(self, samples: Sequence[Sample]) -> None:
        """Store samples, all or none."""
        rows = list(map(_row, samples))
        with transaction(self._connection, self._path) as connection:
            insert(connection, _APPEND, rows)

    def scan(self) -> Iterator[list[Sample]]:
        """All samples in the order of their storing, in parts."""
        for rows in self._scan(_SCAN, _SCANNED):
            yield [_sample(*row) for row in rows]

    def prune(self, before: int) -> Iterator[int]:
        """Delete samples from before a time (unix seconds) and shrink the file, in steps: how many each deleted."""
        return self._prune(_PRUNE, before)


def _row(sample: Sample) -> tuple[int | str | bytes, ...]:
    query, trace = sample.query, sample.trace
    told = [{**asdict(event), "price": None if math.isnan(event.price) else event.price} for event in query.live_events]
    written = {
        "user_id": query.user_id,
        "slate_size": query.slate_size,
        "now": query.now,
        "seed_item_ids": query.seed_item_ids,
        "exclude_item_ids": query.exclude_item_ids,
        "parameters": asdict(query.parameters),
        "live_events": told,
        "seed": query.seed,
    }
    return (
        query.now,
        sample.bundle_id,
        sample.version,
        json.dumps(written),
        json.dumps(trace.item_ids),
        np.ascontiguousarray(trace.features, dtype="<f4").tobytes(),
    )


def _sample(_: int, bundle_id: str, version: int, query: str, item_ids: str, features: bytes) -> Sample:
    written = json.loads(query)
    parameters = written["parameters"]
    told = [
        LiveEvent(
            event["item_id"],
            EventType(event["event_type"]),
            event["time"],
            math.nan if event["price"] is None else event["price"],
            event["session_id"],
        )
        for event in written["live_events"]
    ]
    asked = Query(
        user_id=written["user_id"],
        slate_size=written["slate_size"],
        now=written["now"],
        seed_item_ids=tuple(written["seed_item_ids"]),
        exclude_item_ids=tuple(written["exclude_item_ids"]),
        parameters=ServingParameters(
            **{
                **parameters,
                "exclude_policy": ExcludePolicy(parameters["exclude_policy"]),
                "sources": tuple(parameters["sources"]),
            }
        ),
        live_events=tuple(told),
        seed=written["seed"],
    )
    ids = tuple(json.loads(item_ids))
    matrix = np.frombuffer(features, dtype="<f4").reshape(len(ids), -1)
    return Sample(asked, bundle_id, version, Trace(ids, matrix))
