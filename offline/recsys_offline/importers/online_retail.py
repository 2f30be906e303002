"""UCI Online Retail (and Online Retail II): the invoice lines of a gift shop.

Cancelled lines become refunds; lines without a customer become anonymous sessions, one for each invoice. An
item is taken as created with its first line, before which nobody can know of it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from recsys.types import EventType
from recsys_offline import directory
from recsys_offline.findings import Finding, find
from recsys_offline.ids import Ids
from recsys_offline.importers import ImportReport
from recsys_offline.tables import Table, TableError

# Column names of Online Retail II -> those of Online Retail.
SPELLINGS = {"Invoice": "InvoiceNo", "Price": "UnitPrice", "Customer ID": "CustomerID"}
# As the file went round in CSV: month first. A file in which that does not fit every row is tried day first.
TEXT_TIMES = ("%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S")


def run(source: Path, out: Path) -> ImportReport:
    """Imports a CSV, Excel or Parquet file of invoice lines.

    Raises:
        TableError: the file lacks a column, or holds a value that cannot be read.
        DataError: ``out`` cannot be written.
    """
    table, notes = _table(source)
    lines, form = _lines(table)
    kept, findings = _keep(table, lines)
    events, items = _events(lines[kept]), _items(lines[kept])
    directory.write(out, events, items, _users(lines[kept]))
    notes += (f"InvoiceDate read as {form}, taken as UTC",)
    return ImportReport(source, out, len(lines), events.num_rows, items.num_rows, findings, notes)


def _table(source: Path) -> tuple[Table, tuple[str, ...]]:
    try:
        return Table.at(source), ()
    except TableError:
        if source.suffix.lower() != ".csv" or not source.exists():
            raise
        return Table.at(source, "latin1"), ("read as Latin-1: the text is not UTF-8",)


def _lines(table: Table) -> tuple[pd.DataFrame, str]:
    """The table as a frame, one row a line, empty text or NaN where missing; and the form of its times."""
    name = {SPELLINGS.get(column, column): column for column in table.names}
    table.require(*(name.get(column, column) for column in ("InvoiceNo", "StockCode", "Description", "Quantity")))
    table.require(*(name.get(column, column) for column in ("InvoiceDate", "UnitPrice", "CustomerID", "Country")))
    time, form = _times(table)
    lines = pd.DataFrame(
        {
            "invoice": _texts(table.ids(name["InvoiceNo"])),
            "code": _texts(table.ids("StockCode")),
            "description": table.texts("Description"),
            "quantity": table.numbers("Quantity")[0],
            "time": time,
            "price": table.numbers(name["UnitPrice"])[0],
            # Tools that hold a missing number as NaN write 17850.0.
            "customer": _texts(table.ids(name["CustomerID"])).str.removesuffix(".0"),
            "country": table.texts("Country"),
        }
    )
    return lines, form


def _texts(ids: Ids) -> pd.Series[str]:
    texts = np.array([*ids.distinct.to_pylist(), ""], dtype=object)
    return pd.Series(texts[ids.num], dtype="str")


def _times(table: Table) -> tuple[pd.Series[pd.Timestamp], str]:
    try:
        times = table.times("InvoiceDate")
    except TableError:
        texts = pd.Series(table.texts("InvoiceDate"))
        for form in TEXT_TIMES:
            parsed = pd.to_datetime(texts, format=form, utc=True, errors="coerce")
            if parsed.notna().eq(texts != "").all():
                return parsed.dt.as_unit("ms"), form
        raise
    seconds = pd.to_datetime(pd.Series(times.seconds), unit="s", utc=True).dt.as_unit("ms")
    return seconds.mask(times.missing), times.form


def _keep(table: Table, lines: pd.DataFrame) -> tuple[npt.NDArray[np.bool_], tuple[Finding, ...]]:
    """Which lines are events; what was wrong with the others."""
    kept = np.ones(len(lines), dtype=np.bool_)
    findings: tuple[Finding, ...] = ()
    incomplete = (lines[["invoice", "code"]] == "").any(axis=1) | lines[["quantity", "time", "price"]].isna().any(
        axis=1
    )
    for mask, name, action in (
        (lines.duplicated(), "duplicate lines", "dropped, the first one is kept"),
        (incomplete, "lines without invoice, stock code, quantity, date or price", "dropped"),
        (~lines["code"].str.match(r"\d{5}"), "lines of no product (stock code without five leading digits)", "dropped"),
        (lines["price"] <= 0, "prices of zero or less", "dropped"),
        (lines["quantity"] == 0, "quantities of zero", "dropped"),
    ):
        rows = mask.to_numpy() & kept
        findings += find(table, rows, name, action)
        kept &= ~rows
    findings += find(table, kept & _cancelled(lines), "cancelled lines", "kept as refund events of positive quantity")
    anonymous = kept & (lines["customer"] == "").to_numpy()
    return kept, findings + find(table, anonymous, "lines without customer", "kept as anonymous sessions, by invoice")


def _cancelled(lines: pd.DataFrame) -> npt.NDArray[np.bool_]:
    return (lines["invoice"].str.startswith("C") | (lines["quantity"] < 0)).to_numpy(dtype=np.bool_)


def _events(lines: pd.DataFrame) -> pa.Table:
    place = lines.groupby(["invoice", "code"], sort=False).cumcount() + 1
    types = np.where(_cancelled(lines), EventType.REFUND.word, EventType.PURCHASE.word)
    return pa.table(
        {
            "user_id": pa.array(lines["customer"].mask(lines["customer"] == ""), pa.string()),
            "item_id": pa.array(lines["code"], pa.string()),
            "event_type": pa.array(types, pa.string()),
            "event_time": pa.array(lines["time"], pa.timestamp("ms", "UTC")),
            "event_id": pa.array(lines["invoice"] + "-" + lines["code"] + "-" + place.astype("str"), pa.string()),
            "quantity": pa.array(lines["quantity"].abs(), pa.float64()),
            "price": pa.array(lines["price"], pa.float64()),
            "session_id": pa.array(lines["invoice"], pa.string()),
        }
    )


def _items(lines: pd.DataFrame) -> pa.Table:
    """Each item with its most frequent description, its median price, of purchases where it has any, and its start."""
    title = _most_frequent(lines.assign(description=lines["description"].str.strip()), "code", "description")
    bought = lines[~_cancelled(lines)]
    price = bought.groupby("code")["price"].median().combine_first(lines.groupby("code")["price"].median())
    created = lines.groupby("code")["time"].min().reindex(price.index)
    return pa.table(
        {
            "item_id": pa.array(price.index, pa.string()),
            "title": pa.array(title.reindex(price.index), pa.string()),
            "price": pa.array(price, pa.float64()),
            "created_time": pa.array(created, pa.timestamp("ms", "UTC")),
        }
    )


def _users(lines: pd.DataFrame) -> pa.Table:
    """Each customer with the country of most of their lines."""
    country = _most_frequent(lines[lines["customer"] != ""], "customer", "country")
    return pa.table({"user_id": pa.array(country.index, pa.string()), "country": pa.array(country, pa.string())})


def _most_frequent(lines: pd.DataFrame, key: str, value: str) -> pd.Series[str]:
    """The most frequent value of each key, empty ones aside; the first in alphabet among equals."""
    counts = lines[lines[value] != ""].groupby([key, value]).size().reset_index(name="count")
    ordered = counts.sort_values([key, "count", value], ascending=[True, False, True])
    return ordered.drop_duplicates(key).set_index(key)[value]
