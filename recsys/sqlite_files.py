"""The files of a state directory: SQLite in WAL mode, shared by any number of processes of one machine."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from recsys.errors import StateError

BUSY_SECONDS = 5.0
"""How long a writer waits for another one."""
_WAL_BYTES = 64 * 1024 * 1024
"""What is left of a write-ahead log that was once larger."""
_FREED_PAGES = 1_000
_AT_ONCE = 200
"""Rows of one statement."""


class StateFile:
    """A file of a state directory; one thread at a time may use an object, any number of objects one file.

    Args:
        path: the file; it and its directory are made where they are missing.
        schema: statements that make the tables, each a no-op where they exist.
        version: of the schema.
        durable: whether a commit returns only when the disk has it; else a power failure may take the newest ones.

    Raises:
        StateError: it cannot be used; so say all methods.
    """

    __slots__ = ("_connection", "_path")

    def __init__(self, path: Path, schema: str, version: int, *, durable: bool) -> None:
        self._path = path
        self._connection = connect(path, schema, version, durable=durable)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _scan(self, select: str, at_once: int) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of a query in parts, as they were when it began."""
        with explained(self._path):
            cursor = self._connection.execute(select)
            while rows := cursor.fetchmany(at_once):
                yield rows

    def _fetch(self, select: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with explained(self._path):
            return self._connection.execute(select, parameters).fetchall()

    def _prune(self, deletion: str, before: int) -> Iterator[int]:
        return prune(self._connection, self._path, deletion, before)


def connect(path: Path, schema: str, version: int, *, durable: bool) -> sqlite3.Connection:
    """A connection to a file, which is made where it is missing; transactions are begun by hand.

    Args:
        path: the file; its directory is made too.
        schema: statements that make the tables, each a no-op where they exist.
        version: of the schema.
        durable: whether a commit returns only when the disk has it; else a power failure may take the newest ones.

    Raises:
        StateError: the file cannot be used.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Any thread may use it, one at a time.
        connection = sqlite3.connect(path, BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            with path.with_suffix(".lock").open("w") as lock:  # SQLite does not wait for who turns WAL on
                fcntl.flock(lock, fcntl.LOCK_EX)
                _prepare(connection, path, schema, version)
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[sqlite3.Connection]:
    """A write: all of it is committed when the block ends, or nothing when it raises.

    Raises:
        StateError: the file cannot be written.
    """
    with explained(path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


Inserted = tuple[int, int]
"""What a statement did: how many rows it inserted, and the number of the last one."""


def insert(
    connection: sqlite3.Connection, into: str, rows: Sequence[Sequence[Any]], otherwise: str = ""
) -> list[Inserted]:
    """Insert rows into a table by few statements; what each did.

    At a statement of one row the interpreter's lock is let go and wanted back, for which who serves waits.

    Args:
        connection: in a transaction.
        into: the table and its columns, ``table (column, ...)``.
        rows: of as many values.
        otherwise: what else the statement says.
    """
    inserted = []
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        values = ", ".join([f"({', '.join('?' * len(part[0]))})"] * len(part))
        statement = f"INSERT INTO {into} VALUES {values} {otherwise}"  # noqa: S608 - values are bound
        cursor = connection.execute(statement, [*chain.from_iterable(part)])
        inserted.append((cursor.rowcount, cursor.lastrowid or 0))
    return inserted


def shrink(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Give back to the system what deleted rows have left free, in steps, between which others may write.

    Raises:
        StateError: the file cannot be written.
    """
    with explained(path):
        while connection.execute("PRAGMA freelist_count").fetchone() != (0,):
            connection.executescript(f"PRAGMA incremental_vacuum({_FREED_PAGES})")  # execute() stops at the first page
            yield
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def prune(connection: sqlite3.Connection, path: Path, deletion: str, before: int) -> Iterator[int]:
    """Delete rows of before a time and shrink the file, in steps, between which others may write.

    Args:
        connection: to the file.
        path: the file.
        deletion: a statement that deletes some of the rows from before a time, its one parameter.
        before: unix seconds.

    Yields:
        How many rows a step deleted, after each that wrote something.

    Raises:
        StateError: the file cannot be written.
    """
    while deleted := _deleted(connection, path, deletion, before):
        yield deleted
    for _ in shrink(connection, path):
        yield 0


def _deleted(connection: sqlite3.Connection, path: Path, deletion: str, before: int) -> int:
    with transaction(connection, path):
        return connection.execute(deletion, (before,)).rowcount


def _prepare(connection: sqlite3.Connection, path: Path, schema: str, version: int) -> None:
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found not in {0, version}:
        raise StateError(f"{path}: made by another version of recsys ({found}, not {version}); give another directory")
    if found == version:
        return
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # holds only before the first table
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(f"BEGIN; {schema} PRAGMA user_version = {version}; COMMIT;")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns what SQLite says of a file into a StateError."""
    try:
        yield
    except sqlite3.Error as error:
        raise StateError(f"{path}: {error}; mend its disk or rights, or move the file away") from error
    except OSError as error:
        raise StateError(f"{path}: {error.strerror or error}; give a directory that can be written") from error
