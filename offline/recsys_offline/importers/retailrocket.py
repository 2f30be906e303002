"""Retailrocket as on Kaggle: views, carts and transactions, item properties and the category tree; or events alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset

from recsys.types import EventType
from recsys_offline import directory
from recsys_offline.findings import Finding, find
from recsys_offline.importers import ImportReport
from recsys_offline.importers.table import map_types, timestamps, words
from recsys_offline.tables import Table, TableError

# Columns of user, item, event, time and transaction: as on Kaggle, and as in reduced copies.
COLUMNS = (("visitorid", "itemid", "event", "timestamp", "transactionid"), ("user", "item", "event", "ts", ""))
EVENT_TYPES = {
    "view": EventType.VIEW_ITEM.word,
    "addtocart": EventType.ADD_TO_CART.word,
    "transaction": EventType.PURCHASE.word,
}
PROPERTY_FILES = ("item_properties_part1.csv", "item_properties_part2.csv")


def run(source: Path, out: Path) -> ImportReport:
    """Imports a folder with ``events`` and, optionally, item properties and category tree; or a file of events.

    Raises:
        TableError: the events are missing, lack a column or hold a value that cannot be read.
        DataError: ``out`` cannot be written.
    """
    table = Table.at(_events_file(source))
    events, findings, form = _events(table)
    items, item_findings = _items(source) if source.is_dir() else (None, ())
    directory.write(out, events, items)
    notes = (f"times read as {form}",) + (() if items else ("no item properties: no items file",))
    n_items = items.num_rows if items else 0
    return ImportReport(source, out, len(table), events.num_rows, n_items, findings + item_findings, notes)


def _events_file(source: Path) -> Path:
    if not source.is_dir():
        return source
    found = [file for file in (source / "events.csv", source / "events.parquet") if file.exists()]
    if not found:
        raise TableError(str(source), "no events.csv or events.parquet", "give the folder that holds the events")
    return found[0]


def _events(table: Table) -> tuple[pa.Table, tuple[Finding, ...], str]:
    user_name, item_name, type_name, time_name, order_name = next(
        (columns for columns in COLUMNS if columns[0] in table.names), COLUMNS[0]
    )
    table.require(user_name, item_name, type_name, time_name)
    users, items, types = table.ids(user_name), table.ids(item_name), map_types(table, type_name, EVENT_TYPES)
    times, (stamp, _) = table.times(time_name), table.numbers(time_name)
    order = table.ids(order_name).num if order_name in table.names else np.full(len(table), -1, dtype=np.int32)
    frame = pd.DataFrame({"user": users.num, "item": items.num, "type": types, "stamp": stamp, "order": order})
    incomplete = (users.num < 0) | (items.num < 0) | times.missing
    repeated = frame.duplicated().to_numpy() & ~incomplete
    findings = find(table, incomplete, "events without user, item or time", "dropped")
    findings += find(table, repeated, "duplicate events", "dropped, the first one is kept")
    kept = np.flatnonzero(~(incomplete | repeated))
    # In the order of the file's milliseconds, which event_time rounds off.
    kept = kept[np.argsort(stamp[kept], kind="stable")]
    columns = {"user_id": users.column(kept), "item_id": items.column(kept), "event_type": words(types[kept])}
    return pa.table(columns | {"event_time": timestamps(times.seconds[kept])}), findings, times.form


def _items(folder: Path) -> tuple[pa.Table | None, tuple[Finding, ...]]:
    """Category path and availability of each item, from the latest of its properties."""
    files = [folder / name for name in PROPERTY_FILES if (folder / name).exists()]
    if not files:
        return None, ()
    latest = _latest_properties(files)
    paths, findings = _category_paths(folder)
    category = latest.get("categoryid", pd.Series("", index=latest.index)).fillna("")
    available = latest.get("available", pd.Series(None, index=latest.index, dtype="object"))
    columns = {
        "item_id": pa.array(latest.index.astype("str"), pa.string()),
        "category": pa.array([paths.get(name, name) or None for name in category], pa.string()),
        "available": pa.array(available.map({"1": True, "0": False}).tolist(), pa.bool_(), from_pandas=True),
    }
    return pa.table(columns), findings


def _latest_properties(files: list[Path]) -> pd.DataFrame:
    """The last ``categoryid`` and ``available`` of each item; the other properties are hashed and not read."""
    text = pa.csv.ConvertOptions(column_types=dict.fromkeys(("itemid", "property", "value"), pa.string()))
    try:
        data = pa.dataset.dataset([str(file) for file in files], format=pa.dataset.CsvFileFormat(convert_options=text))
        rows = data.to_table(filter=pa.dataset.field("property").isin(["categoryid", "available"])).to_pandas()
        ordered = rows[["timestamp", "itemid", "property", "value"]].sort_values("timestamp", kind="stable")
        latest: pd.DataFrame = ordered.pivot_table(index="itemid", columns="property", values="value", aggfunc="last")
    except (KeyError, ValueError, pa.ArrowException) as error:
        problem = f"cannot be read ({' '.join(str(error).split())[:200]})"
        raise TableError(files[0].name, problem, "columns are timestamp, itemid, property, value") from error
    return latest


def _category_paths(folder: Path) -> tuple[dict[str, str], tuple[Finding, ...]]:
    """The path ``a > b`` from the root to each category; a category that is its own ancestor starts a path."""
    file = folder / "category_tree.csv"
    if not file.exists():
        return {}, ()
    table = Table.at(file)
    parent = dict(zip(table.texts("categoryid"), table.texts("parentid"), strict=True))
    paths = {}
    looped = []
    for category in parent:
        path = [category]
        while (above := parent.get(path[0], "")) and above not in path:
            path.insert(0, above)
        looped.append(bool(above))
        paths[category] = " > ".join(path)
    mask = np.array(looped, dtype=np.bool_)
    return paths, find(table, mask, "categories that are their own ancestors", "their path starts at the loop")
