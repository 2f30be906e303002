"""What is dirty in a table, counted, with the rule that dealt with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.types import Bools
from recsys_offline.tables import Table


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of dirt.

    Attributes:
        name: what it is, such as ``future times``.
        count: rows that have it.
        action: the rule that was applied to them.
        where: the first such row, in words.
        fix: what the owner of the data can mend; empty where nothing is wrong with it.
    """

    name: str
    count: int
    action: str
    where: str
    fix: str = ""

    def line(self) -> str:
        """The finding as one line of text."""
        return f"{self.count:,} {self.name}: {self.action} (first: {self.where})" + (
            f"; {self.fix}" if self.fix else ""
        )


def find(table: Table, mask: Bools, name: str, action: str, fix: str = "") -> tuple[Finding, ...]:
    """The finding of the rows of a table for which mask (bool[n]) holds; none where there is no such row."""
    count = int(np.count_nonzero(mask))
    return (Finding(name, count, action, table.where(int(np.argmax(mask))), fix),) if count else ()
