"""From a shop's own files to a dataset directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recsys_offline.findings import Finding


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did.

    Attributes:
        source: what was read.
        out: the dataset directory.
        rows_read: rows of the events' source.
        events: events written.
        items: rows of the items file; 0 where none was written.
        findings: each kind of dirt, with the rule that dealt with it. A row counts under the first rule that drops it.
        notes: what had to be assumed.
    """

    source: Path
    out: Path
    rows_read: int
    events: int
    items: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The report as lines of text."""
        items = f" and {self.items:,} items" if self.items else ""
        return [
            f"{self.rows_read:,} rows read from {self.source}",
            *(f"  {finding.line()}" for finding in self.findings),
            *(f"  {note}" for note in self.notes),
            f"{self.events:,} events{items} written to {self.out}",
        ]
