"""Slates served, joined with what users did with them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from recsys.errors import DataError
from recsys.event_log import EventLog
from recsys.exposure_log import FILE, Exposure, ExposureLog
from recsys.types import INTERACTION_TYPES
from recsys_offline.table_files import writer

OUTCOMES = tuple(event_type.word for event_type in INTERACTION_TYPES)
SCHEMA = pa.schema(
    [
        ("recommendation_id", pa.string()),
        ("exposure_time", pa.timestamp("s", "UTC")),
        ("user_id", pa.string()),
        ("placement", pa.string()),
        ("bundle_id", pa.string()),
        ("assignments", pa.string()),
        ("item_id", pa.string()),
        ("rank", pa.int32()),
        ("score", pa.float64()),
        ("propensity", pa.float64()),
        ("sources", pa.string()),
        *((word, pa.int32()) for word in OUTCOMES),
    ]
)
_Outcomes = Mapping[tuple[str, str], Counter[str]]


@dataclass(frozen=True, slots=True)
class ExposureReport:
    """What was written.

    Attributes:
        slates: exposures.
        rows: items of all slates.
        outcomes: events that name a slate.
        joined: those of them that name an item of a slate that is there.
    """

    slates: int
    rows: int
    outcomes: int
    joined: int

    def line(self) -> str:
        """The report as one line of text."""
        return f"{self.rows:,} items of {self.slates:,} slates, {self.joined:,} of {self.outcomes:,} outcomes joined"


def export(state: Path, out: Path) -> ExposureReport:
    """Write a row for each item of each slate, with the number of events of each kind that followed from it.

    Args:
        state: a server's state directory.
        out: a .parquet or .csv file.

    Raises:
        DataError: there are no exposures, or the file's name ends otherwise.
        StateError: the directory cannot be read.
    """
    if not (state / FILE).exists():
        raise DataError(f"{state}: no {FILE}; give the directory of recsys-server --state")
    slates = rows = joined = 0
    outcomes = _outcomes(state)
    with writer(out, SCHEMA) as write, closing(ExposureLog(state)) as log:
        for part in log.scan():
            records = [record for exposure in part for record in _records(exposure, outcomes)]
            write(pa.Table.from_pylist(records, SCHEMA))
            slates, rows = slates + len(part), rows + len(records)
            joined += sum(record[word] for record in records for word in OUTCOMES)
    return ExposureReport(slates, rows, sum(map(Counter.total, outcomes.values())), joined)


def _outcomes(state: Path) -> _Outcomes:
    """How many interactions of each type follow from an item (second) of a slate (first)."""
    words = {int(event_type): event_type.word for event_type in INTERACTION_TYPES}
    found: dict[tuple[str, str], Counter[str]] = {}
    with closing(EventLog(state)) as log:
        for part in log.scan():
            for event in part:
                if event.recommendation_id and event.event_type in words:
                    counts = found.setdefault((event.recommendation_id, event.item_id), Counter())
                    counts[words[event.event_type]] += 1
    return found


def _records(exposure: Exposure, outcomes: _Outcomes) -> list[dict[str, Any]]:
    slate = {
        "recommendation_id": exposure.recommendation_id,
        "exposure_time": exposure.time,
        "user_id": exposure.user_id,
        "placement": exposure.placement,
        "bundle_id": exposure.bundle_id,
        "assignments": json.dumps(dict(exposure.assignments), ensure_ascii=False),
    }
    return [
        {
            **slate,
            "item_id": item.item_id,
            "rank": rank,
            "score": item.score,
            "propensity": item.propensity,
            "sources": " ".join(item.sources),
            **dict.fromkeys(OUTCOMES, 0),
            **outcomes.get((exposure.recommendation_id, item.item_id), {}),
        }
        for rank, item in enumerate(exposure.items, start=1)
    ]
