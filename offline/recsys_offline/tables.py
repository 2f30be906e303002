"""Tables on disk, read one column at a time into arrays, without a Python object per row."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.dataset
import pyarrow.parquet

from recsys.errors import DataError
from recsys.types import Bools, Float64s, Int32s, Int64s
from recsys.vocabulary import MAX_ID_BYTES
from recsys_offline.ids import CODED, Ids, dictionary_encoded, fingerprints
from recsys_offline.table_files import open_files, read_dictionary

pc: Any = pyarrow.compute  # its stubs refuse plain Python values

# The largest number that still is a plausible unix time in each unit, and units per second. Seconds end in 5138.
UNIX_UNITS = (
    ("seconds", 1e11, 1),
    ("milliseconds", 1e14, 1_000),
    ("microseconds", 1e17, 1_000_000),
    ("nanoseconds", 1e20, 1_000_000_000),
)
# Seconds start in 1973: a smaller number is a day, a week or a year, not a unix time.
MIN_UNIX_TIME = 1e8
TEXT_FILES = {".csv", ".xlsx", ".xls"}
"""Have no types: every column is read as text."""


class TableError(DataError):
    """A table that cannot be used: where, what is wrong and the fix."""

    def __init__(self, where: str, problem: str, fix: str) -> None:
        super().__init__(f"{where}: {problem}; {fix}")
        self.where, self.problem, self.fix = where, problem, fix


@dataclass(frozen=True, slots=True)
class Times:
    """A column of times.

    Attributes:
        seconds: int64[n], unix seconds; 0 where missing.
        missing: bool[n].
        form: what was read, in words: ``timestamps``, ``ISO 8601 text`` or ``unix milliseconds``.
    """

    seconds: Int64s
    missing: Bools
    form: str


class Table:
    """A CSV, Parquet or Excel file, or several Parquet parts of one table.

    Args:
        name: what messages call it, such as ``events.parquet``.
        files: one CSV or Excel file, or Parquet files in the order of their rows.
        encoding: of a CSV file.

    Raises:
        TableError: a file is missing or damaged, or a CSV row has too few or too many fields.
    """

    def __init__(self, name: str, files: Sequence[Path], encoding: str = "utf8") -> None:
        self.name, self.files = name, tuple(files)
        try:
            self._data = open_files(self.files, encoding)
        except FileNotFoundError as error:
            raise TableError(name, "no such file", "give the path of a CSV, Parquet or Excel file") from error
        except (OSError, ValueError, pa.ArrowException) as error:
            fix = "save it as UTF-8" if "UTF8" in str(error) else "mend or replace the file"
            raise TableError(name, f"cannot be read ({_line(error)})", fix) from error
        self.names: list[str] = self._data.schema.names
        repeated = {column for column in self.names if self.names.count(column) > 1}
        if repeated:
            raise TableError(name, f"two columns are called {min(repeated)!r}", "rename one")

    @classmethod
    def at(cls, path: Path, encoding: str = "utf8") -> Self:
        """The table in a file, or in a folder of Parquet parts in the order of their names.

        Raises:
            TableError: as the class; also when the folder holds no part.
        """
        if not path.is_dir():
            return cls(path.name, [path], encoding)
        parts = sorted(path.glob("*.parquet"))
        if not parts:
            raise TableError(str(path), "no Parquet parts in the folder", "give a folder with files *.parquet")
        return cls(path.name, parts)

    def __len__(self) -> int:
        rows: int = self._data.count_rows()
        return rows

    def content(self) -> Iterator[bytes]:
        """Bytes that change when names or bytes of its files do: what is hashed."""
        for file in self.files:
            yield file.name.encode() + b"\0"
            with file.open("rb") as stream:
                yield hashlib.file_digest(stream, "sha256").digest()

    def where(self, row: int) -> str:
        """The place of a row (from 0) in words: ``events/part-2.parquet row 17``, rows counted from 1."""
        if len(self.files) == 1:
            return f"{self.name} row {row + 1}"
        for file in self.files:
            length = pa.parquet.read_metadata(file).num_rows
            if row < length:
                return f"{self.name}/{file.name} row {row + 1}"
            row -= length
        return self.name

    def require(self, *names: str) -> None:
        """Checks that the columns exist.

        Raises:
            TableError: one doesn't; names the nearest one that does.
        """
        for name in names:
            if name not in self.names:
                near = difflib.get_close_matches(name, self.names, n=3, cutoff=0)
                raise TableError(self.name, f"no column {name!r}", f"nearest columns: {', '.join(near) or 'none'}")

    def column(self, name: str) -> Any:
        """One column as it stands, an arrow ChunkedArray.

        Raises:
            TableError: there is no such column, or its bytes are damaged.
        """
        self.require(name)
        try:
            column = self._data.to_table(columns=[name])[name]
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self._unreadable(name, error) from error
        return pc.cast(column, column.type.value_type) if pa.types.is_dictionary(column.type) else column

    def kind(self, name: str) -> pa.DataType:
        """The arrow type of a column's values; where a file has nothing but texts, of what all of them spell."""
        kind = self._data.schema.field(name).type
        if pa.types.is_dictionary(kind):
            return kind.value_type
        if not _is_text(kind) or self.files[0].suffix.lower() not in TEXT_FILES:
            return kind
        column = pc.utf8_trim_whitespace(self.column(name))
        if pc.all(pc.match_substring_regex(column, "^(?i:true|false)$")).as_py():
            return pa.bool_()
        try:
            return pc.cast(column, pa.float64()).type
        except pa.ArrowException:
            return kind

    def ids(self, name: str) -> Ids:
        """A column of ids, text or whole numbers; an empty text is a missing id.

        Raises:
            TableError: the column is of another type, or an id is longer than 256 bytes or holds a NUL or broken UTF-8.
        """
        self.require(name)
        try:
            chunks = [chunk for part in self._parts(name) for chunk in dictionary_encoded(part).chunks]
            array = pa.chunked_array(chunks, CODED).unify_dictionaries().combine_chunks()
            num = array.indices.fill_null(-1).to_numpy()
            array.dictionary.validate(full=True)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self._no_ids(name, error) from error
        return self._checked_ids(name, num, array.dictionary)

    def _parts(self, name: str) -> list[Any]:
        if isinstance(self._data, pa.dataset.InMemoryDataset):
            return [self._data.to_table(columns=[name])[name]]
        return [read_dictionary(file, name) for file in self.files]

    def _checked_ids(self, name: str, num: Int32s, values: Any) -> Ids:
        lengths = pc.binary_length(values).fill_null(0)
        bad = pc.or_(pc.greater(lengths, MAX_ID_BYTES), pc.match_substring(values, "\0").fill_null(False))
        if pc.any(bad).as_py() and (in_row := np.isin(num, np.flatnonzero(bad))).any():
            problem = f"is not an id: 1 to {MAX_ID_BYTES} bytes without NUL"
            raise self._bad_cell(int(np.argmax(in_row)), name, problem, "shorten it")
        empty = np.flatnonzero(pc.equal(lengths, 0))
        if len(empty):
            num = np.where(np.isin(num, empty), -1, num).astype(np.int32)
        return Ids(num, values.fill_null(""))

    def fingerprints(self, name: str) -> tuple[npt.NDArray[np.uint64], Bools]:
        """A column in which nearly every id is another: uint64[n], a hash of each; and bool[n], whether it is missing.

        Raises:
            TableError: an id is longer than 256 bytes, or is no text or number.
        """
        self.require(name)
        hashes, missing, row = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.bool_)], 0
        for batch in self._data.to_batches(columns=[name]):
            try:
                texts = pc.cast(batch[name], pa.large_string())
            except pa.ArrowException as error:
                raise self._no_ids(name, error) from error
            lengths = pc.binary_length(texts).fill_null(0).to_numpy()
            if lengths.max(initial=0) > MAX_ID_BYTES:
                where = self.where(row + int(lengths.argmax()))
                raise TableError(where, f"{name} is longer than {MAX_ID_BYTES} bytes", "shorten it")
            hashes.append(fingerprints(texts))
            missing.append(lengths == 0)
            row += len(texts)
        return np.concatenate(hashes), np.concatenate(missing)

    def numbers(self, name: str) -> tuple[Float64s, Bools]:
        """A column of numbers: float64[n], NaN where missing; and bool[n], whether the value is missing.

        Raises:
            TableError: a value isn't a number.
        """
        column = self.column(name)
        if _is_text(column.type):
            column = pc.utf8_trim_whitespace(column)
        try:
            values = pc.cast(column, pa.float64(), safe=False)
        except pa.ArrowException as error:
            if not _is_text(column.type):
                raise self._unreadable(name, error) from error
            numeric = pd.to_numeric(column.to_pandas(), errors="coerce").isna() & ~column.is_null().to_numpy()
            row = int(np.argmax(numeric))
            raise self._bad_cell(row, name, "is not a number", "write it with a decimal point") from error
        return values.fill_null(np.nan).to_numpy(), values.is_null().to_numpy()

    def times(self, name: str) -> Times:
        """A column of times: timestamps, dates, ISO 8601 text, or unix time in a unit told by its magnitude.

        Times without a zone are UTC.

        Raises:
            TableError: a value is not a time.
        """
        column = self.column(name)
        if _is_text(column.type):
            column = pc.utf8_trim_whitespace(column)
            column = pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)
        missing = column.is_null().to_numpy()
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            return Times(_seconds(column), missing, "timestamps")
        if _is_text(column.type):
            numbers = _whole_numbers(column)
            if numbers is None:
                return Times(self._iso_seconds(name, column), missing, "ISO 8601 text")
            column = numbers
        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_null(column.type)):
            raise TableError(self.name, f"column {name!r} is of type {column.type}", "write timestamps in UTC")
        return self._unix_times(name, column, missing)

    def texts(self, name: str) -> list[str]:
        """A column of texts; empty where missing."""
        column = self.column(name)
        try:
            texts: list[str] = pc.cast(column, pa.large_string()).fill_null("").to_pylist()
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise self._unreadable(name, error) from error
        return texts

    def flags(self, name: str) -> tuple[Bools, Bools]:
        """A column of true and false (or 1 and 0): bool[n], False where missing; and bool[n], whether it is missing.

        Raises:
            TableError: a value is neither.
        """
        column = self.column(name)
        if _is_text(column.type):
            column = pc.utf8_trim_whitespace(column)
            good = pc.match_substring_regex(column, "^(?i:true|false|1|0)$").fill_null(True).to_numpy()
            if not good.all():
                raise self._bad_cell(int(np.argmin(good)), name, "is neither true nor false", "write true or false")
        try:
            values = pc.cast(column, pa.bool_())
        except pa.ArrowException as error:
            raise self._unreadable(name, error) from error
        return values.fill_null(False).to_numpy(), values.is_null().to_numpy()

    def _unix_times(self, name: str, column: Any, missing: Bools) -> Times:
        if pa.types.is_floating(column.type):
            missing = missing | pc.is_nan(column).fill_null(True).to_numpy()
            column = pc.cast(column.fill_null(0), pa.float64())
        values = pc.cast(column, pa.int64(), safe=False).fill_null(0).to_numpy()
        known = values[~missing]
        if not len(known):
            return Times(np.zeros(len(values), dtype=np.int64), missing, "no times")
        middle = float(np.median(known))  # one time far off must not decide the unit
        if not MIN_UNIX_TIME <= middle < UNIX_UNITS[-1][1]:
            row = int(np.argmin(missing))
            raise self._bad_cell(row, name, "is not a unix time", "write timestamps or unix seconds")
        unit, _, per_second = next(unit for unit in UNIX_UNITS if middle < unit[1])
        return Times(np.where(missing, 0, values // per_second), missing, f"unix {unit}")

    def _iso_seconds(self, name: str, column: Any) -> Int64s:
        for zone in (None, "UTC"):  # arrow wants a zone on all texts or on none; pandas, ten times slower, takes any
            try:
                return _seconds(pc.cast(column, pa.timestamp("us", zone)))
            except pa.ArrowException:
                continue
        parsed = pd.to_datetime(column.to_pandas(), format="ISO8601", utc=True, errors="coerce")
        bad = parsed.isna().to_numpy() & ~column.is_null().to_numpy()
        if bad.any():
            row = int(np.argmax(bad))
            raise self._bad_cell(row, name, "is not a time", "write ISO 8601 in UTC, such as 2024-05-31T18:00:00Z")
        return _seconds(pa.chunked_array([pa.Array.from_pandas(parsed)]))

    def _bad_cell(self, row: int, name: str, problem: str, fix: str) -> TableError:
        value = str(self.column(name)[row].as_py())
        return TableError(self.where(row), f"{name} {value[:40]!r} {problem}", fix)

    def _no_ids(self, name: str, error: Exception) -> TableError:
        return TableError(self.name, f"column {name!r} holds no ids ({_line(error)})", "write ids as UTF-8 text")

    def _unreadable(self, name: str, error: Exception) -> TableError:
        return TableError(self.name, f"column {name!r} cannot be read ({_line(error)})", "mend or replace the file")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _whole_numbers(column: Any) -> Any | None:
    """The numbers that the texts spell, or None when one of them spells something else."""
    try:
        return pc.cast(column, pa.int64())
    except pa.ArrowException:
        return None


def _seconds(column: Any) -> Int64s:
    seconds: Int64s = pc.cast(pc.cast(column, pa.timestamp("s"), safe=False), pa.int64()).fill_null(0).to_numpy()
    return seconds


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
