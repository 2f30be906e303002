"""Public data sets and the protocols by which lists on them are judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from recsys.metrics import Truth
from recsys.types import SECONDS_PER_DAY, EventType, ExcludePolicy, Int32s
from recsys_offline import dataset
from recsys_offline.dataset import Dataset
from recsys_offline.importers import online_retail, retailrocket, table


@dataclass(frozen=True, slots=True)
class Task:
    """One question to a trained model: lists for the truth's users under a policy."""

    name: str
    policy: ExcludePolicy
    truth: Truth


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
        name: its folder below the data folder.
        files: the files that must be there.
        origin: where its owner publishes it.
        prepare: (its folder, a scratch folder) to the case.
    """

    name: str
    files: tuple[str, ...]
    origin: str
    prepare: Callable[[Path, Path], Case]


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
    return _time_cut("online_retail", dataset.read(scratch), _seconds("2011-11-09"))


def dunnhumby(folder: Path, scratch: Path) -> Case:
    """Grocery purchases, the last 30 days held out."""
    table.run(
        folder / "transactions_sample.parquet",
        scratch,
        user_id="household_id",
        item_id="product_id",
        event_time="transaction_timestamp",
        as_type="purchase",
    )
    data = dataset.read(scratch)
    return _time_cut("dunnhumby_sample", data, int(data.events.time[-1]) - 30 * SECONDS_PER_DAY)


DATA_SETS = (
    DataSet("gowalla_m1", ("train.parquet", "test.parquet"), "the LightGCN repository, data/gowalla", gowalla),
    DataSet("online_retail", ("transactions.parquet",), "UCI repository, Online Retail (352)", online_retail_month),
    DataSet(
        "retailrocket_mb",
        ("events.parquet", "test_purchase.parquet"),
        "Kaggle, Retailrocket recommender system dataset",
        retailrocket_buyers,
    ),
    DataSet("dunnhumby_sample", ("transactions_sample.parquet",), "dunnhumby, The Complete Journey", dunnhumby),
)


def _seconds(day: str) -> int:
    return int(np.datetime64(day, "s").astype(np.int64))


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
