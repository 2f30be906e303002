"""Public data sets and the protocols by which lists on them are judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from recsys.interactions import Histories
from recsys.metrics import Truth
from recsys.types import SECONDS_PER_DAY, EventType, ExcludePolicy, Int32s
from recsys_offline import dataset, directory
from recsys_offline.dataset import Dataset
from recsys_offline.importers import online_retail, retailrocket, table

pc: Any = pyarrow.compute  # its stubs refuse plain Python values

LAST_MONTH = "2011-11-09"
HIDING_SEED = 7
KNOWN_ITEMS = 5


@dataclass(frozen=True, slots=True)
class Task:
    """One question to a trained model: lists for the truth's users under a policy.

    Attributes:
        name: of the task.
        policy: what the user's history keeps out.
        truth: what the users did; with ``known``, ``truth.user_num`` is the row of their history there.
        among: int32[m], rising: items that are ranked among themselves; None for the whole catalogue.
        known: all that is known of users whom the model has never seen; None for users of the model.
    """

    name: str
    policy: ExcludePolicy
    truth: Truth
    among: Int32s | None = None
    known: Histories | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A data set ready to train on, and the tasks that judge the model.

    Attributes:
        name: of the data set.
        data: what to train on.
        until: end of the training data, unix seconds; None: all of it.
        tasks: what to ask; their truth is never seen by training.
    """

    name: str
    data: Dataset
    until: int | None
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class DataSet:
    """Where a data set comes from.

    Attributes:
        name: of the case.
        folder: below the data folder.
        files: the files that must be there.
        origin: where its owner publishes it.
        prepare: (its folder, a scratch folder) to the case.
        against: the case before it with the same users and tasks, of which it shows what something adds; may be empty.
    """

    name: str
    folder: str
    files: tuple[str, ...]
    origin: str
    prepare: Callable[[Path, Path], Case]
    against: str = ""


def gowalla(folder: Path, scratch: Path) -> Case:
    """Static split of NGCF and LightGCN: all items scored, train items masked, every user of the test."""
    table.run(folder / "train.parquet", scratch, user_id="user", item_id="item", as_type="view_item")
    data = dataset.read(scratch)
    return Case("gowalla_m1", data, None, (_given(data, folder / "test.parquet", "new items", ExcludePolicy.SEEN),))


def retailrocket_buyers(folder: Path, scratch: Path) -> Case:
    """One held-out purchase per user, that pair removed from every event type."""
    retailrocket.run(folder / "events.parquet", scratch)
    data = dataset.read(scratch)
    task = _given(data, folder / "test_purchase.parquet", "held-out purchase", ExcludePolicy.PURCHASED)
    return Case("retailrocket_mb", data, None, (task,))


def online_retail_month(folder: Path, scratch: Path) -> Case:
    """The last month from 2011-11-09 on: items bought, with repeats, and of those the new ones."""
    online_retail.run(folder / "transactions.parquet", scratch)
    cut = _seconds(LAST_MONTH)
    case = _time_cut("online_retail", _priced_before(dataset.read(scratch), cut), cut)
    return replace(case, tasks=(*case.tasks, _newcomers(case.data, _seconds(LAST_MONTH))))


def online_retail_cold(folder: Path, scratch: Path) -> Case:
    """The last month again, a tenth of the items sold before it hidden there: known by title, price and start alone."""
    online_retail.run(folder / "transactions.parquet", scratch)
    cut = _seconds(LAST_MONTH)
    data = _priced_before(dataset.read(scratch), cut)
    sold = np.unique(data.events.before(cut).of_types((EventType.PURCHASE,)).item_num)
    hidden = np.sort(np.random.default_rng(HIDING_SEED).choice(sold, len(sold) // 10, replace=False))
    out = np.isin(data.events.item_num, hidden) & (data.events.time < cut)
    case = _time_cut("online_retail_cold", replace(data, events=data.events.where(~out)), cut)
    found = case.tasks[0].truth
    rows = np.repeat(found.user_num, np.diff(found.indptr))
    kept = np.isin(found.item_num, hidden)
    truth = Truth.of(rows[kept], found.item_num[kept], found.n_items)
    among = Task("cold items among themselves", ExcludePolicy.PURCHASED, truth, among=hidden)
    return replace(case, tasks=(among, Task("cold items in the catalogue", ExcludePolicy.PURCHASED, truth)))


def dunnhumby(folder: Path, scratch: Path) -> Case:
    """Grocery purchases, the last 30 days held out; nothing but ids, times, baskets and quantities."""
    directory.write(scratch, _baskets(folder))
    return _last_30_days("dunnhumby_sample", dataset.read(scratch))


def dunnhumby_attributes(folder: Path, scratch: Path) -> Case:
    """The same purchases, with what the shop says of the products that were sold and of the households."""
    events = _baskets(folder)
    products = pq.read_table(folder / "products.parquet").to_pydict()
    levels = zip(products["department"], products["product_category"], products["product_type"], strict=True)
    items = {
        "item_id": products["product_id"],
        "category": [" > ".join(level for level in path if level) for path in levels],
        "brand": products["brand"],
        "manufacturer_id": products["manufacturer_id"],
    }
    sold = pc.is_in(pa.array(items["item_id"]), value_set=pc.unique(events["item_id"].combine_chunks()))
    users = pq.read_table(folder / "demographics.parquet")
    users = users.rename_columns(["user_id" if name == "household_id" else name for name in users.column_names])
    directory.write(scratch, events, pa.table(items).filter(sold), users)
    return _last_30_days("dunnhumby_attributes", dataset.read(scratch))


def _baskets(folder: Path) -> pa.Table:
    """The purchases as events."""
    columns = ["household_id", "product_id", "transaction_timestamp", "basket_id", "quantity"]
    lines = pq.read_table(folder / "transactions_sample.parquet", columns=columns)
    events = lines.rename_columns(["user_id", "item_id", "event_time", "session_id", "quantity"])
    return events.append_column("event_type", pa.array(["purchase"] * len(events)))


def _last_30_days(name: str, data: Dataset) -> Case:
    return _time_cut(name, data, int(data.events.time[-1]) - 30 * SECONDS_PER_DAY)


ONLINE_RETAIL = "UCI repository, Online Retail (352)"
DATA_SETS = (
    DataSet(
        "gowalla_m1", "gowalla_m1", ("train.parquet", "test.parquet"), "the LightGCN repository, data/gowalla", gowalla
    ),
    DataSet("online_retail", "online_retail", ("transactions.parquet",), ONLINE_RETAIL, online_retail_month),
    DataSet("online_retail_cold", "online_retail", ("transactions.parquet",), ONLINE_RETAIL, online_retail_cold),
    DataSet(
        "retailrocket_mb",
        "retailrocket_mb",
        ("events.parquet", "test_purchase.parquet"),
        "Kaggle, Retailrocket recommender system dataset",
        retailrocket_buyers,
    ),
    DataSet(
        "dunnhumby_sample",
        "dunnhumby_sample",
        ("transactions_sample.parquet",),
        "dunnhumby, The Complete Journey",
        dunnhumby,
    ),
    DataSet(
        "dunnhumby_attributes",
        "dunnhumby_sample",
        ("transactions_sample.parquet", "products.parquet", "demographics.parquet"),
        "dunnhumby, The Complete Journey",
        dunnhumby_attributes,
        against="dunnhumby_sample",
    ),
)


def _seconds(day: str) -> int:
    return int(np.datetime64(day, "s").astype(np.int64))


def _priced_before(data: Dataset, cut: int) -> Dataset:
    """With prices as they were before a cut, where an item was sold before it: the files know but the transactions."""
    bought = data.events.before(cut).of_types((EventType.PURCHASE,))
    usual = pd.Series(bought.price).groupby(bought.item_num).median()
    price = data.catalogue.price.copy()
    price[usual.index] = usual
    return replace(data, catalogue=replace(data.catalogue, price=price))


def _time_cut(name: str, data: Dataset, cut: int) -> Case:
    """Purchases after a cut of the users who had bought before it: all, and those new to the user."""
    n_users, n_items = len(data.users), len(data.items)
    bought = data.events.of_types((EventType.PURCHASE,))
    past, future = bought.before(cut), bought.between(cut, np.iinfo(np.int64).max)
    known = np.zeros(max(n_users, int(bought.user_num.max()) + 1), dtype=bool)
    known[past.user_num] = True
    known[n_users:] = False
    future = future.where(known[future.user_num])
    before = np.unique(past.user_num.astype(np.int64) * n_items + past.item_num)
    new = ~np.isin(future.user_num.astype(np.int64) * n_items + future.item_num, before)
    return Case(
        name,
        data,
        cut,
        (
            Task("repeats allowed", ExcludePolicy.NONE, Truth.of(future.user_num, future.item_num, n_items)),
            Task(
                "new items only", ExcludePolicy.PURCHASED, Truth.of(future.user_num[new], future.item_num[new], n_items)
            ),
        ),
    )


def _newcomers(data: Dataset, cut: int) -> Task:
    """Users who first come after a cut: their first items are known, and what they buy besides is to be found."""
    bought = data.events.of_types((EventType.PURCHASE,))
    seen = set(data.events.before(cut).user_num.tolist())
    firsts: dict[int, dict[int, int]] = {}  # of each user, of each item the first row, in the order of time
    for row in np.flatnonzero((bought.time >= cut) & (bought.user_num < len(data.users))).tolist():
        firsts.setdefault(int(bought.user_num[row]), {}).setdefault(int(bought.item_num[row]), row)
    asked = [list(rows.values()) for user, rows in firsts.items() if user not in seen and len(rows) > KNOWN_ITEMS]
    number = np.full(len(bought), -1, dtype=np.int32)
    known = np.zeros(len(bought), dtype=bool)
    for user, rows in enumerate(asked):
        number[rows] = user
        known[rows[:KNOWN_ITEMS]] = True
    later = (number >= 0) & ~known
    histories = Histories.of(replace(bought, user_num=number).where(known), len(asked), KNOWN_ITEMS)
    truth = Truth.of(number[later], bought.item_num[later], len(data.items))
    return Task(f"new customers, {KNOWN_ITEMS} items known", ExcludePolicy.PURCHASED, truth, known=histories)


def _given(data: Dataset, path: Path, name: str, policy: ExcludePolicy) -> Task:
    """A task whose truth is a file of pairs; items that training has never seen count as missed."""
    pairs = pq.read_table(path).to_pydict()
    users = data.users.nums([str(user) for user in pairs["user"]])
    items = data.items.nums([str(item) for item in pairs["item"]])
    unknown = np.flatnonzero(items < 0)
    items[unknown] = len(data.items) + np.arange(len(unknown))
    n_items = len(data.items) + len(unknown)
    kept: Int32s = np.flatnonzero(users >= 0).astype(np.int32)
    return Task(name, policy, Truth.of(users[kept], items[kept].astype(np.int32), n_items))
