"""The files of a dataset directory: found, hashed, and written whole or not at all."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from recsys.errors import DataError
from recsys.event_log import FILE
from recsys_offline.log_tables import JoinedTable, LogTable
from recsys_offline.tables import Table, TableError

# What a directory may hold for us to replace it: all that we write ourselves.
WRITTEN = {"events.parquet", "events", "items.parquet", "users.parquet"}


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of a dataset directory; items and users are optional."""

    events: Table
    items: Table | None
    users: Table | None

    def sha256(self) -> str:
        """A hash over names and bytes of all files, the same wherever the directory stands."""
        digest = hashlib.sha256()
        for table in (self.events, self.items, self.users):
            for part in table.content() if table else ():
                digest.update(part)
        return digest.hexdigest()


def tables(path: Path, state: Path | None = None) -> Tables:
    """The tables of a dataset directory.

    Args:
        path: the directory; or a server's state directory, whose log then is the events.
        state: a server's state directory, whose log goes on where the events end; None: none.

    Raises:
        TableError: there is no directory, or no events in it, or a file is damaged, or a table is there twice.
        StateError: a log cannot be read.
    """
    if not path.is_dir():
        problem = "is a file, not a dataset directory" if path.exists() else "no such directory"
        raise TableError(str(path), problem, "give a directory made by recsys import")
    events = _table(path, "events")
    if events is None:
        problem = "no events.parquet, events.csv or folder events of Parquet parts"
        raise TableError(str(path), problem, "make the dataset with recsys import")
    if state is not None:
        if not (state / FILE).exists():
            raise TableError(str(state), f"no {FILE}", "give the directory of recsys-server --state")
        events = JoinedTable(events, LogTable(state))
    return Tables(events, _table(path, "items"), _table(path, "users"))


def _table(path: Path, name: str) -> Table | None:
    possible = [path / f"{name}.parquet", path / f"{name}.csv", path / name, path / f"{name}.db"]
    found = [file for file in possible if file.exists()]
    if len(found) > 1:
        raise TableError(str(path), f"both {found[0].name} and {found[1].name}", "keep one of them")
    if not found:
        return None
    return LogTable(path) if found[0].name == FILE else Table.at(found[0])


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A folder to write a dataset into, which becomes ``path`` when the block ends without an error.

    A process that is killed leaves nothing, or the earlier dataset, at ``path``, and a hidden folder beside it that the
    next writer removes.

    Raises:
        DataError: ``path`` holds something that is not a dataset written by us, or cannot be written.
    """
    path = path.absolute()
    if path.exists() and not _replaceable(path):
        raise DataError(f"{path}: not a dataset that recsys wrote; give --out another directory")
    partial, replaced = (path.with_name(f".{path.name}.{word}") for word in ("partial", "replaced"))
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        shutil.rmtree(replaced, ignore_errors=True)
        if path.exists():
            path.rename(replaced)
        partial.rename(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error}); give --out another place") from error
    finally:
        if replaced.exists() and not path.exists():
            replaced.rename(path)
        shutil.rmtree(partial, ignore_errors=True)
        if path.exists():
            shutil.rmtree(replaced, ignore_errors=True)


def write(path: Path, events: pa.Table, items: pa.Table | None = None, users: pa.Table | None = None) -> None:
    """Writes a dataset directory of Parquet files (zstd): all of it or nothing.

    Raises:
        DataError: ``path`` holds something that is not a dataset written by us, or cannot be written.
    """
    with staged(path) as folder:
        for name, table in (("events", events), ("items", items), ("users", users)):
            if table is not None:
                pa.parquet.write_table(table, folder / f"{name}.parquet", compression="zstd")


def _replaceable(path: Path) -> bool:
    return path.is_dir() and {file.name for file in path.iterdir()} <= WRITTEN
