"""CSV, Excel and Parquet files, opened as arrow datasets, and tables written to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet
from python_calamine import CalamineError

from recsys.errors import DataError


def open_files(files: Sequence[Path], encoding: str) -> pa.dataset.Dataset:
    """One CSV or Excel file, every column as text, in memory; or Parquet parts, read on demand.

    Raises:
        OSError, ValueError, pyarrow.ArrowException: a file is missing or damaged.
    """
    suffix = files[0].suffix.lower()
    if suffix == ".csv":
        return pa.dataset.dataset(_read_csv(files[0], encoding))
    if suffix in {".xlsx", ".xls"}:
        try:
            sheets = pd.read_excel(files[0], sheet_name=None, dtype=str, engine="calamine")
        except CalamineError as error:
            raise ValueError(str(error)) from error
        return pa.dataset.dataset(pa.Table.from_pandas(pd.concat(sheets.values()), preserve_index=False))
    schema = pa.unify_schemas([_plain(pa.parquet.read_schema(file)) for file in files], promote_options="permissive")
    return pa.dataset.dataset([str(file) for file in files], schema=schema, format="parquet")


def read_dictionary(file: Path, name: str) -> Any:
    """A text column of a Parquet file, decoded as a dictionary, so that no text is stored once per row.

    Arrow's datasets do so too, but hand out the dictionary of a row group with every batch of it.
    """
    metadata = pa.parquet.read_metadata(file)
    if name not in metadata.schema.to_arrow_schema().names:  # an optional column that this part doesn't have
        return pa.chunked_array([pa.nulls(metadata.num_rows)])
    with pa.parquet.ParquetFile(file, read_dictionary=[name]) as parquet:
        return parquet.read(columns=[name])[name]


@contextmanager
def writer(out: Path, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Writes tables to a .parquet or .csv file that is there when it is complete, and not before.

    Raises:
        DataError: its name ends otherwise.
    """
    kinds = {".parquet": pa.parquet.ParquetWriter, ".csv": pa.csv.CSVWriter}
    if out.suffix not in kinds:
        raise DataError(f"{out}: give a name that ends in .parquet or .csv")
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = out.with_name(f".{out.name}.new")
    try:
        with kinds[out.suffix](fresh, schema) as opened:
            yield opened.write_table
        fresh.replace(out)
    finally:
        fresh.unlink(missing_ok=True)


def _plain(schema: pa.Schema) -> pa.Schema:
    """The schema without dictionary types, which do not unify with the types they hold."""
    plain = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in schema
    ]
    return pa.schema(plain)


def _read_csv(file: Path, encoding: str) -> pa.Table:
    """All columns as text, so that a value that cannot be parsed can still be named; an empty field is null."""
    crooked: list[str] = []

    def refuse(row: Any) -> str:
        crooked.append(f"row {row.number - 1} has {row.actual_columns} fields, the header {row.expected_columns}")
        return "error"

    # One thread: only then does arrow number the rows.
    options = pa.csv.ReadOptions(encoding=encoding, use_threads=False)
    parse = pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse)
    try:
        with pa.csv.open_csv(file, read_options=options, parse_options=parse) as head:
            names = head.schema.names
        text = dict.fromkeys(names, pa.string())
        convert = pa.csv.ConvertOptions(column_types=text, null_values=[""], strings_can_be_null=True)
        return pa.csv.read_csv(file, read_options=options, convert_options=convert, parse_options=parse)
    except pa.ArrowInvalid as error:
        raise ValueError(crooked[0] if crooked else str(error)) from error
